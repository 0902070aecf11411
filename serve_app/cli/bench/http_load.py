"""A load client that costs little beside the server it shares the machine with.

Requests are encoded beforehand; each connection sends one, reads its answer and sends the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(slots=True)
class LoadResult:
    """`latencies_s` of the requests answered 200, `seconds` of wall time."""

    seconds: float
    latencies_s: list[float] = field(default_factory=list[float])
    refused: int = 0

    @property
    def per_second(self) -> float:
        return len(self.latencies_s) / self.seconds

    def quantile_s(self, share: float) -> float:
        ordered = sorted(self.latencies_s)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def encode_post(url: str, body: bytes, headers: dict[str, str]) -> bytes:
    """One keep-alive HTTP/1.1 request."""
    parts = urlsplit(url)
    lines = [
        f"POST {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Content-Type: application/x-www-form-urlencoded",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def drive(
    url: str, requests: Sequence[bytes], *, connections: int, seconds: float
) -> LoadResult:
    """Send `requests` over `connections` until they or the time run out."""
    parts = urlsplit(url)
    feed = iter(requests)
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    result = LoadResult(seconds=0.0)
    clients = [_Connection(feed, started + seconds, result) for _ in range(connections)]
    for client in clients:
        async with asyncio.timeout(10):
            await loop.create_connection(lambda c=client: c, parts.hostname or "", parts.port or 80)
    async with asyncio.timeout(seconds + 30):
        await asyncio.gather(*(client.done for client in clients))
    result.seconds = time.perf_counter() - started
    return result


class _Connection(asyncio.Protocol):
    def __init__(self, feed: Iterator[bytes], deadline: float, result: LoadResult) -> None:
        self._feed = feed
        self._deadline = deadline
        self._result = result
        self._buffer = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 -- TCP gives nothing else
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 or len(self._buffer) < end + 4 + _content_length(self._buffer[:end]):
            return
        if self._buffer.startswith(b"HTTP/1.1 200"):
            self._result.latencies_s.append(time.perf_counter() - self._sent_at)
        else:
            self._result.refused += 1
        self._buffer = b""
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._result.refused += 1
            self.done.set_result(None)

    def _send(self) -> None:
        request = next(self._feed, None)
        now = time.perf_counter()
        assert self._transport is not None  # noqa: S101 -- set when the connection was made
        if request is None or now > self._deadline:
            if not self.done.done():
                self.done.set_result(None)
            self._transport.close()
            return
        self._sent_at = now
        self._transport.write(request)


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0
