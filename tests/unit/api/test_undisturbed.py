"""Serve doesn't watch over webhooks, and over nothing else."""

from __future__ import annotations

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.api.undisturbed import HEADER, middlewares

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
