"""A channel's connections come back, whatever became of the requests that had them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from serve_app.channels.connections import open_connections

_CANCELLED = 400
"""More than there are connections."""


@asynccontextmanager
async def a_server(*, answers_after_s: float) -> AsyncGenerator[str]:
    """Its address. It has clients until the context ends."""
    clients: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(answers_after_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        clients.add(asyncio.create_task(serve(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    # Those that have closed are told so; the last ones may still answer.
    await asyncio.wait_for(asyncio.gather(*clients), timeout=10)


async def test_requests_that_are_given_up_take_no_connection_with_them() -> None:
    """Cancelled while they wait for a connection, while it is made, and while the answer is awaited."""
    async with (
        a_server(answers_after_s=0.05) as url,
        open_connections([]) as connections,
    ):
        for waited_s in (0.0, 0.001, 0.01, 0.03, 0.1):
            asked = [
                asyncio.create_task(connections.api.get(url, timeout=5)) for _ in range(_CANCELLED)
            ]
            await asyncio.sleep(waited_s)
            for request in asked:
                request.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        answer = await connections.api.get(url, timeout=5)
        assert answer.text == "ok"
