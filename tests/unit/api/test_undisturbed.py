"""Serve doesn't watch over webhooks, and over nothing else."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlencode

import pytest
import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.undisturbed import HEADER, Undisturbed, middlewares
from tests.unit.api.door import INBOUND, open_door, signed, text_message

OTHER = (b"host", b"bot.example.com")


async def headers_behind(scope: Scope) -> list[tuple[bytes, bytes]]:
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])

    async def receive() -> Message:
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError

    (middleware,) = middlewares()
    await middleware.cls(app, *middleware.args, **middleware.kwargs)(scope, receive, send)
    return seen


@pytest.mark.parametrize("path", ["/webhooks/twilio", "/webhooks/twilio/status"])
async def test_a_webhook_carries_serves_header(path: str) -> None:
    scope = {"type": "http", "method": "POST", "path": path, "headers": [OTHER]}
    assert await headers_behind(scope) == [OTHER, HEADER]


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/webhooks/twilio"), ("POST", "/console/login"), ("GET", "/")]
)
async def test_nothing_else_does(method: str, path: str) -> None:
    scope = {"type": "http", "method": method, "path": path, "headers": [OTHER]}
    assert await headers_behind(scope) == [OTHER]


async def test_other_protocols_pass() -> None:
    assert await headers_behind({"type": "websocket", "path": "/", "headers": [OTHER]}) == [OTHER]


async def test_a_webhook_is_kept_when_its_sender_hangs_up() -> None:
    params = text_message()
    body = urlencode(params)
    request = (
        f"POST {INBOUND} HTTP/1.1\r\nHost: bot.example.com\r\nContent-Length: {len(body)}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n"
        f"X-Twilio-Signature: {signed(INBOUND, params)}\r\n\r\n{body}"
    )
    async with open_door() as door:
        # Long enough to be hung up on, and then it goes to the spool.
        door.inbound.hung = True
        async with serving(Undisturbed(door.app)) as port:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request.encode())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
            async with asyncio.timeout(5):
                while not door.store.tables.spool:  # noqa: ASYNC110 -- the server's doing
                    await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(app: ASGIApp) -> AsyncGenerator[int]:
    """On uvicorn, as Serve's replicas do; the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        yield listener.getsockname()[1]
        server.should_exit = True
        await task


def test_serve_takes_the_header_at_its_word() -> None:
    from ray.serve._private.http_util import parse_disconnect_disabled_header

    own = (HEADER[0], b"?0")
    assert not parse_disconnect_disabled_header(dict([OTHER]))
    # The sender's own comes first.
    assert parse_disconnect_disabled_header(dict([own, OTHER, HEADER]))


def test_serve_takes_the_middlewares_by_their_name(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve._private import http_util
    from ray.serve.config import HTTPOptions

    from serve_app.cli.ray_environment import HTTP_CALLBACK, HTTP_CALLBACK_VARIABLE

    assert hasattr(http_util, HTTP_CALLBACK_VARIABLE)
    monkeypatch.setattr(http_util, HTTP_CALLBACK_VARIABLE, HTTP_CALLBACK)
    (found,) = http_util.configure_http_middlewares(HTTPOptions(middlewares=[])).middlewares
    assert found.cls is middlewares()[0].cls
