"""How the official SDK reaches the network here.

The SDK's own asynchronous client has no time limit by default, sends JSON bodies as forms, and can
retry a POST on any 5xx. This one sends each request exactly once, within a total time limit, over
pooled connections, and keeps what the SDK's exceptions lose (`Retry-After`).
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import cast

import httpx2
from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from models.errors import RecadoError
from serve_app.channels.retry_after import retry_after_s

NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
"""Raised before the first byte of a request has left."""

_CONNECT_S = 5.0


class TwilioAnswerError(RecadoError):
    """Twilio answered something other than success."""

    def __init__(
        self, message: str, *, status: int, code: int | None, retry_after: float | None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class SingleShotHttp(AsyncHttpClient):
    """Implements the SDK's `AsyncHttpClient` over httpx2; closing the httpx2 client is the owner's."""

    def __init__(self, client: httpx2.AsyncClient, *, timeout_s: float) -> None:
        super().__init__(logging.getLogger("twilio.http"), is_async=True, timeout=timeout_s)
        self._client = client
        self._total_s = timeout_s
        # Whoever waits longer than this hasn't sent anything yet, so the failure can say so.
        phase = min(_CONNECT_S, timeout_s / 2)
        self._timeout = httpx2.Timeout(timeout_s, connect=phase, pool=phase)

    async def request(  # noqa: PLR0917 - the SDK's signature
        self,
        method: str,
        uri: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,
        allow_redirects: bool = False,
    ) -> Response:
        """Raises `TwilioAnswerError`, an httpx2 error, or TimeoutError (it may have been sent)."""
        as_json = (headers or {}).get("Content-Type") == "application/json"
        request = self._client.build_request(
            method.upper(),
            uri,
            params=cast("Mapping[str, str] | None", params),
            data=None if as_json else data,
            json=data if as_json else None,
            headers=headers,
            timeout=self._timeout,
        )
        credentials = httpx2.BasicAuth(*auth) if auth else None
        async with asyncio.timeout(timeout or self._total_s):
            response = await self._client.send(
                request, auth=credentials, follow_redirects=allow_redirects
            )
        if not response.is_success:
            raise answer_error(response)
        return Response(response.status_code, response.text, response.headers)


def answer_error(response: httpx2.Response) -> TwilioAnswerError:
    """Reads Twilio's two error shapes: `{code, message, …}` and RFC 9457's `{code, title, …}`."""
    try:
        document: object = json.loads(response.content)
    except ValueError:
        document = None
    fields = cast("dict[str, object]", document) if isinstance(document, dict) else {}
    code = fields.get("code")
    message = fields.get("message") or fields.get("title") or response.reason_phrase
    return TwilioAnswerError(
        str(message)[:500],
        status=response.status_code,
        code=code if isinstance(code, int) else None,
        retry_after=retry_after_s(response.headers.get("retry-after")),
    )
