"""The Cloud API's calls: send once, show typing, and say where a file is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, cast

import httpx2
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from models.accounts import TwilioAccount
from models.errors import (
    MediaRejectedError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
)
from models.messages import (
    DeliveryStatus,
    InboundMessage,
    MediaFile,
    MediaRef,
    OutboundMessage,
    SentMessage,
)
from serve_app.channels.media import MediaFetcher
from serve_app.channels.whatsapp_cloud.errors import error_of, send_error
from serve_app.channels.whatsapp_cloud.outbound import message_document
from serve_app.settings import WhatsAppCloudSettings

log = structlog.get_logger(__name__)

NOTHING_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)
"""Raised before the first byte of a request has left."""

_CONNECT_S = 5.0
_TYPING_TIMEOUT_S = 5.0


class BearerAuth(httpx2.Auth):
    def __init__(self, token: str) -> None:
        self._header = f"Bearer {token}"

    def auth_flow(self, request: httpx2.Request) -> Any:
        request.headers["Authorization"] = self._header
        yield request


class _Announced(BaseModel):
    """What the API tells of a file; the address works for five minutes."""

    model_config = ConfigDict(extra="ignore")

    url: str
    mime_type: str = "application/octet-stream"
    sha256: str | None = None


class WhatsAppCloudClient:
    """One per process; accounts share its connections."""

    def __init__(
        self, *, settings: WhatsAppCloudSettings, http: httpx2.AsyncClient, media: MediaFetcher
    ) -> None:
        self._settings = settings
        self._http = http
        self._media = media
        self._base = f"{settings.api_url.rstrip('/')}/{settings.api_version}/"
        phase = min(_CONNECT_S, settings.request_timeout_s / 2)
        self._timeout = httpx2.Timeout(settings.request_timeout_s, connect=phase, pool=phase)

    @property
    def media_url(self) -> str:
        """What a file's id is appended to."""
        return self._base

    async def send(self, message: OutboundMessage, account: TwilioAccount) -> SentMessage:
        """`POST messages`, once. The errors are those of `ports.Channel.send`."""
        if not message.sender.isdecimal():
            raise SendRejectedError("the sender must be the id of a phone number, in digits")
        document = message_document(message, link_previews=self._settings.link_previews)
        try:
            async with asyncio.timeout(self._settings.request_timeout_s):
                answer = await self._post(message.sender, document, account)
        except NOTHING_SENT as error:
            raise SendDeferredError(f"the Cloud API can't be reached: {_name(error)}") from error
        except (httpx2.HTTPError, TimeoutError) as error:
            raise SendUnknownError(f"no answer from the Cloud API: {_name(error)}") from error
        if not answer.is_success:
            raise send_error(answer)
        message_id = _message_id(answer)
        if message_id is None:
            raise SendUnknownError("the Cloud API's answer to a send names no message")
        return SentMessage(
            message_id=message_id,
            status=DeliveryStatus.ACCEPTED,
            body=message.body,
            recipient=message.recipient,
        )

    async def show_typing(self, message: InboundMessage, account: TwilioAccount) -> None:
        """Also marks the message read; lasts 25 s or until the reply. Failures are logged, not raised."""
        document = {
            "messaging_product": "whatsapp",
            "status": "read",
            "message_id": message.message_id,
            "typing_indicator": {"type": "text"},
        }
        try:
            async with asyncio.timeout(min(_TYPING_TIMEOUT_S, self._settings.request_timeout_s)):
                answer = await self._post(message.recipient, document, account)
        except (httpx2.HTTPError, TimeoutError) as error:
            log.info("typing_indicator_failed", error=_name(error))
            return
        if not answer.is_success:
            code, text = error_of(answer)
            log.info("typing_indicator_failed", status=answer.status_code, code=code, error=text)

    async def fetch_media(self, ref: MediaRef, account: TwilioAccount) -> MediaFile:
        """Asks where the file is, then fetches it; both with the access token, which goes to the hosts of
        `media_hosts` only."""
        credentials = bearer(account)
        answer = await self._media.fetch(MediaRef(url=ref.url), credentials)
        try:
            announced = _Announced.model_validate_json(answer.content)
        except ValidationError as error:
            raise MediaRejectedError("the Cloud API doesn't say where the file is") from error
        found = MediaRef(url=announced.url, content_type=ref.content_type)
        return await self._media.fetch(found, credentials)

    async def _post(
        self, number_id: str, document: Mapping[str, object], account: TwilioAccount
    ) -> httpx2.Response:
        return await self._http.post(
            f"{self._base}{number_id}/messages",
            content=json.dumps(document, ensure_ascii=False).encode(),
            headers={"Content-Type": "application/json"},
            auth=bearer(account),
            timeout=self._timeout,
            follow_redirects=False,
        )


def bearer(account: TwilioAccount) -> BearerAuth:
    """An account without a token of its own for the API gets the API's refusal, which names the cause."""
    token = account.access_token
    return BearerAuth(token.get_secret_value() if token else "")


def _message_id(answer: httpx2.Response) -> str | None:
    try:
        document: object = answer.json()
    except ValueError:
        return None
    members = cast("dict[str, Any]", document) if isinstance(document, dict) else {}
    messages = members.get("messages")
    first: object = (
        cast("list[object]", messages)[0] if isinstance(messages, list) and messages else {}
    )
    found = cast("dict[str, Any]", first).get("id") if isinstance(first, dict) else None
    return found if isinstance(found, str) and found else None


def _name(error: BaseException) -> str:
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
