"""Fetching the files of a message.

The URL comes from outside, so nothing is taken on trust: each hop's host and network addresses are
checked and the connection goes to an address that was checked (a name that changes its address in
between gains nothing); credentials go to the first origin only; bytes and time are counted as they
come, whatever the headers promise; what a file is, its content says.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx2

from models.errors import MediaNotReadyError, MediaRejectedError, MediaUnauthorizedError
from models.messages import MediaFile, MediaRef
from serve_app.channels.addresses import MediaPolicy, Origin, Resolver, resolve
from serve_app.channels.file_types import checked_type
from serve_app.channels.retry_after import retry_after_s
from serve_app.ports import Clock
from serve_app.settings import ChannelSettings

_MAX_REDIRECTS = 5
_FIRST_WAIT_S = 0.25
_HTTP_TIMEOUT = httpx2.Timeout(10.0, connect=5.0)
_LOOK_AGAIN_S = 5.0


class _AbsentError(Exception):
    """Answered 404: at first that only means that the file isn't there yet."""


class MediaFetcher:
    """`http` must neither follow redirects nor keep idle connections nor use a proxy."""

    def __init__(
        self,
        *,
        settings: ChannelSettings,
        http: httpx2.AsyncClient,
        clock: Clock,
        resolver: Resolver = resolve,
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._policy = MediaPolicy(settings, resolver=resolver)

    async def fetch(self, ref: MediaRef, credentials: httpx2.Auth) -> MediaFile:
        """Raises `MediaNotReadyError` (404, 429, 5xx, the network, too slow) or `MediaRejectedError`,
        of which a 401 to the credentials is a `MediaUnauthorizedError`."""
        try:
            async with asyncio.timeout(self._settings.media_timeout_s):
                return await self._fetch_when_ready(ref, credentials)
        except TimeoutError as error:
            limit = self._settings.media_timeout_s
            raise MediaNotReadyError(f"the file took longer than {limit:g} s") from error
        except (httpx2.HTTPError, OSError) as error:
            name = type(error).__name__
            raise MediaNotReadyError(f"the file's server can't be reached: {name}") from error
        except httpx2.InvalidURL as error:
            raise MediaRejectedError("the media URL can't be read") from error

    async def _fetch_when_ready(self, ref: MediaRef, credentials: httpx2.Auth) -> MediaFile:
        looks = self._settings.media_not_ready_retries + 1
        for look in range(looks):
            try:
                return await self._follow(ref, credentials)
            except _AbsentError:
                if look + 1 < looks:
                    await self._clock.sleep(_FIRST_WAIT_S * 2**look)
        raise MediaNotReadyError(
            f"the file wasn't there after {looks} looks", retry_after=_LOOK_AGAIN_S
        )

    async def _follow(self, ref: MediaRef, credentials: httpx2.Auth) -> MediaFile:
        url = httpx2.URL(ref.url)
        first = Origin.of(url)
        trusted = True
        for hop in range(_MAX_REDIRECTS + 1):
            self._policy.check(url, redirected=hop > 0)
            # Once the chain has left the first origin, nothing that it comes to gets credentials.
            trusted = trusted and Origin.of(url) == first
            async with self._open(url, credentials if trusted else None) as response:
                location = response.headers.get("location")
                if response.is_redirect and location:
                    url = url.join(location)
                    continue
                if response.status_code == 401 and trusted:
                    raise MediaUnauthorizedError(
                        "the file's server answered 401 to the credentials"
                    )
                return await self._read(response, ref)
        raise MediaRejectedError(f"more than {_MAX_REDIRECTS} redirects")

    @asynccontextmanager
    async def _open(
        self, url: httpx2.URL, auth: httpx2.Auth | None
    ) -> AsyncGenerator[httpx2.Response]:
        """A response whose body isn't read yet, from an address that was checked."""
        addresses = await self._policy.addresses(url)
        for last, address in enumerate(addresses, start=1 - len(addresses)):
            request = self._http.build_request(
                "GET",
                url.copy_with(host=address, fragment=None),
                # Encoded bodies could grow beyond the limit while they are unpacked.
                headers={"Host": url.netloc.decode("ascii"), "Accept-Encoding": "identity"},
                extensions={"sni_hostname": url.host},
                timeout=_HTTP_TIMEOUT,
            )
            try:
                response = await self._http.send(
                    request, auth=auth, stream=True, follow_redirects=False
                )
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if last == 0:
                    raise
                continue
            try:
                yield response
            finally:
                await response.aclose()
            return

    async def _read(self, response: httpx2.Response, ref: MediaRef) -> MediaFile:
        status = response.status_code
        if status == 404:
            raise _AbsentError
        if status == 429 or status >= 500:
            raise MediaNotReadyError(
                f"the file's server answered {status}",
                retry_after=retry_after_s(response.headers.get("retry-after")),
            )
        if status != 200:
            raise MediaRejectedError(f"the file's server answered {status}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            raise MediaRejectedError("the file came encoded, unasked")
        limit = self._settings.max_media_bytes
        promised = response.headers.get("content-length", "")
        if promised.isdecimal() and int(promised) > limit:
            raise MediaRejectedError(f"the file has {promised} bytes, more than {limit}")
        content = bytearray()
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > limit:
                raise MediaRejectedError(f"the file has more than {limit} bytes")
        whole = bytes(content)
        answered = response.headers.get("content-type") or ref.content_type
        # The webhook's word and the server's must both hold: either could be the one that is believed.
        checked_type(whole, ref.content_type)
        return MediaFile(content=whole, content_type=checked_type(whole, answered))
