"""Where media may be fetched from: which hosts, and which network addresses behind their names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import httpx2

from models.errors import MediaRejectedError
from serve_app.network import Resolver, is_public, resolve
from serve_app.settings import ChannelSettings

_LOOPBACK_NAMES = ("127.0.0.1", "localhost", "::1")
_DEFAULT_PORTS = {"https": 443, "http": 80}


@dataclass(frozen=True)
class Origin:
    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, url: httpx2.URL) -> Origin:
        return cls(url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme, 0))


class MediaPolicy:
    """Decides about each address of a chain of redirects, and whether it may see credentials."""

    def __init__(self, settings: ChannelSettings, *, resolver: Resolver = resolve) -> None:
        self._hosts = {host.lower() for host in settings.media_hosts}
        self._redirect_hosts = tuple(host.lower() for host in settings.media_redirect_hosts)
        self._resolver = resolver
        self._local: set[Origin] = set()
        for text in settings.local_origins:
            origin = Origin.of(httpx2.URL(text))
            names = _LOOPBACK_NAMES if origin.host in _LOOPBACK_NAMES else (origin.host,)
            self._local.update(Origin(origin.scheme, name, origin.port) for name in names)

    def is_local(self, url: httpx2.URL) -> bool:
        return Origin.of(url) in self._local

    def check(self, url: httpx2.URL, *, redirected: bool) -> None:
        """Raises `MediaRejectedError` for a URL that media isn't fetched from."""
        origin = Origin.of(url)
        if url.userinfo:
            raise MediaRejectedError("a media URL with credentials in it")
        if origin in self._local:
            return
        if origin.scheme != "https":
            raise MediaRejectedError(f"media over {origin.scheme or 'no scheme'}, not https")
        if origin.port != 443:
            raise MediaRejectedError(f"media on port {origin.port}")
        if origin.host in self._hosts:
            return
        if redirected and any(
            origin.host == host or origin.host.endswith(f".{host}") for host in self._redirect_hosts
        ):
            return
        kind = "redirected to" if redirected else "on"
        raise MediaRejectedError(f"media {kind} {origin.host!r}, which isn't allowed")

    async def addresses(self, url: httpx2.URL) -> Sequence[str]:
        """The addresses to connect to. Raises `MediaRejectedError` if any leads inside, OSError if the
        name can't be resolved."""
        origin = Origin.of(url)
        found = await self._resolver(origin.host, origin.port)
        if not found:
            raise OSError(f"{origin.host} has no address")
        if origin not in self._local and not all(is_public(address) for address in found):
            raise MediaRejectedError(f"{origin.host!r} leads to a private address")
        return found
