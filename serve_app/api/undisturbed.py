"""Tells Ray Serve's replicas not to watch whether a webhook's sender still waits.

Serve cancels a request whose sender has hung up, and watches for that with two tasks and a queue for each
request. A webhook that has been read shall be kept all the same: whether the provider repeats it is the
provider's business, and a repetition is recognised.

`recado up` names `middlewares` in RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH. Where nobody does, or Serve
takes no notice of the header, webhooks are acknowledged as well, only more slowly.
"""

from __future__ import annotations

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

WEBHOOKS_PATH = "/webhooks/"
HEADER = (b"x-request-disconnect-disabled", b"?1")
"""Serve's own, and `true` as HTTP's structured fields write it."""


class Undisturbed:
    """Adds the header to every webhook. It comes from nobody else: a sender's own is Serve's business."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"].startswith(WEBHOOKS_PATH)
        ):
            scope["headers"] = [*scope["headers"], HEADER]
        await self._app(scope, receive, send)


def middlewares() -> list[Middleware]:
    """What Serve puts in front of its replicas and proxies."""
    return [Middleware(Undisturbed)]
