"""Requests to addresses that others wrote down: only to hosts that are allowed, never into this network.

A host's addresses are looked up once, checked, and connected to as they were checked: a name that changes
its address in between gains nothing. Redirects aren't followed, bodies are counted as they come.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx2

from models.errors import PermanentError, RetryableError

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses; raises OSError if the name can't be resolved."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_CONNECT_S = 5.0


async def resolve(host: str, port: int) -> Sequence[str]:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(f"{host[:80]} is no name of a host") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_public(address: str) -> bool:
    """False for anything that leads into this machine or its network, however it is written."""
    try:
        ip = ipaddress.ip_address(address.split("%", 1)[0])
    except ValueError:
        return False
    return all(part.is_global and not part.is_multicast for part in (ip, *_embedded(ip)))


def _embedded(ip: Address) -> tuple[Address, ...]:
    """IPv4 addresses that a router would make of this IPv6 address."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ()
    found: list[Address | None] = [ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ())]
    if ip in _NAT64:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return tuple(part for part in found if part is not None)


def host_is_allowed(host: str, allowed: Collection[str]) -> bool:
    """`allowed` are hosts, or `*.example.com` for all below one."""
    name = host.lower().rstrip(".")
    return any(
        name == pattern or (pattern.startswith("*.") and name.endswith(pattern[1:]))
        for pattern in (each.lower() for each in allowed)
    )


class AddressRefusedError(PermanentError):
    """A request to somewhere that isn't allowed."""


class AnswerTooLargeError(PermanentError):
    """The answer was cut off at its limit."""


class RequestFailedError(RetryableError):
    """No answer: the network, the name, or the time limit."""


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    content_type: str
    body: bytes
    retry_after: str | None = None


class GuardedHttp:
    """`hosts` may be asked over HTTPS; `local_origins` (`http://127.0.0.1:9000`) are exempt from every
    rule. `client` must neither follow redirects nor use a proxy."""

    def __init__(
        self,
        *,
        client: httpx2.AsyncClient,
        hosts: Collection[str],
        local_origins: Collection[str] = (),
        resolver: Resolver = resolve,
    ) -> None:
        self._client = client
        self._hosts = hosts
        self._local = {origin.rstrip("/") for origin in local_origins}
        self._resolver = resolver

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: bytes | None,
        timeout_s: float,
        max_bytes: int,
    ) -> Answer:
        """Send once. Raises `AddressRefusedError`, `AnswerTooLargeError` or `RequestFailedError`."""
        try:
            target = httpx2.URL(url)
        except httpx2.InvalidURL as error:
            raise AddressRefusedError("the address can't be read") from error
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await self._addresses(target)
                timeout = httpx2.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s))
                request = httpx2.Request(
                    method,
                    target,
                    # Encoded bodies could grow beyond the limit while they are unpacked.
                    headers={**headers, "Accept-Encoding": "identity"},
                    content=content,
                    extensions={"sni_hostname": target.host, "timeout": timeout.as_dict()},
                )
                async with self._open(request, addresses) as response:
                    return await _read(response, max_bytes)
        except TimeoutError as error:
            raise RequestFailedError(f"no answer within {timeout_s:g} s") from error
        except (httpx2.HTTPError, OSError) as error:
            raise RequestFailedError(f"no answer: {type(error).__name__}") from error

    async def _addresses(self, url: httpx2.URL) -> Sequence[str]:
        if url.userinfo:
            raise AddressRefusedError("an address with credentials in it")
        origin = f"{url.scheme}://{url.netloc.decode('ascii')}"
        if origin in self._local:
            return [url.host]
        if url.scheme != "https" or url.port not in (None, 443):
            raise AddressRefusedError(f"{origin} isn't HTTPS on its usual port")
        if not host_is_allowed(url.host, self._hosts):
            raise AddressRefusedError(f"{url.host} isn't among the allowed hosts (outside.hosts)")
        found = await self._resolver(url.host, 443)
        if not found:
            raise OSError(f"{url.host} has no address")
        if not all(is_public(address) for address in found):
            raise AddressRefusedError(f"{url.host} leads to a private address")
        return found

    @asynccontextmanager
    async def _open(
        self, request: httpx2.Request, addresses: Sequence[str]
    ) -> AsyncGenerator[httpx2.Response]:
        """Under the host's name, from the first of its addresses that accepts a connection."""
        for last, address in enumerate(addresses, start=1 - len(addresses)):
            request.url = request.url.copy_with(host=address, fragment=None)
            try:
                response = await self._client.send(request, stream=True, follow_redirects=False)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if last == 0:
                    raise
                continue
            try:
                yield response
            finally:
                await response.aclose()
            return


async def _read(response: httpx2.Response, max_bytes: int) -> Answer:
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise AnswerTooLargeError("the answer came encoded, unasked: its size can't be known")
    content = bytearray()
    async for chunk in response.aiter_bytes():
        content += chunk
        if len(content) > max_bytes:
            raise AnswerTooLargeError(f"the answer has more than {max_bytes} bytes")
    return Answer(
        status=response.status_code,
        content_type=response.headers.get("content-type", ""),
        body=bytes(content),
        retry_after=response.headers.get("retry-after"),
    )


def open_client() -> httpx2.AsyncClient:
    """A client as `GuardedHttp` needs it. Connections aren't kept: they go to checked addresses, under
    names that may lead elsewhere next time."""
    return httpx2.AsyncClient(
        trust_env=False,
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=50, max_keepalive_connections=0),
    )
