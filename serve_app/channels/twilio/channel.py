"""Twilio as a `serve_app.ports.Channel`."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime
from urllib.parse import urlsplit

import httpx2

from models.accounts import TwilioAccount
from models.errors import MediaUnauthorizedError, SignatureError, UnprocessableError
from models.messages import (
    InboundMessage,
    MediaFile,
    MediaRef,
    OutboundMessage,
    SentMessage,
    StatusUpdate,
)
from serve_app.channels.connections import open_connections
from serve_app.channels.media import MediaFetcher
from serve_app.channels.twilio.client import STATUS_PATH, TwilioClient
from serve_app.channels.twilio.payload import (
    CHANNEL,
    TwilioWhatsAppPayload,
    is_json,
    read_params,
    read_status,
)
from serve_app.channels.twilio.quick_reply import fits_quick_reply
from serve_app.channels.twilio.signature import SIGNATURE_HEADER, is_signed
from serve_app.channels.twilio.tokens import TokenMemory
from serve_app.ports import Clock, Received, WebhookContents, WebhookForm, WebhookRequest
from serve_app.settings import TwilioSettings

EMPTY_TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'
"""Nothing to do: the reply comes later, through the API."""
MAX_BODY_CHARS = 1600
"""Twilio refuses longer bodies with 21617."""


class TwilioChannel:
    """Implements `serve_app.ports.Channel`."""

    def __init__(
        self,
        *,
        client: TwilioClient,
        media: MediaFetcher,
        tokens: TokenMemory,
        window_s: float = 86_400.0,
    ) -> None:
        """`tokens` is the client's, too: what one of them learns serves both."""
        self._tokens = tokens
        self._window_s = window_s
        self._client = client
        self._media = media

    @property
    def name(self) -> str:
        return CHANNEL

    @property
    def max_body_chars(self) -> int:
        return MAX_BODY_CHARS

    def carries_buttons(
        self, count: int, *, body: str, recipient: str, account: TwilioAccount
    ) -> bool:
        return recipient.startswith("whatsapp:") and fits_quick_reply(count, body, account)

    def window_s(self, recipient: str) -> float | None:
        return self._window_s if recipient.startswith("whatsapp:") else None

    @property
    def webhook_form(self) -> WebhookForm:
        return WebhookForm("application/x-www-form-urlencoded", EMPTY_TWIML, "text/xml")

    @property
    def lists_messages(self) -> bool:
        return True

    def handshake(self, request: WebhookRequest) -> str:
        raise SignatureError("Twilio knows no handshake")

    def account_ids(self, request: WebhookRequest) -> tuple[str, ...]:
        try:
            params = read_params(request)
        except UnprocessableError as error:
            raise SignatureError(str(error)) from error
        account_sid = next((value for name, value in params if name == "AccountSid"), "")
        if not account_sid:
            raise SignatureError("the webhook names no account")
        return (account_sid,)

    def verify(self, request: WebhookRequest, account: TwilioAccount) -> None:
        tokens = [account.auth_token.get_secret_value()]
        if account.secondary_token is not None:
            tokens.append(account.secondary_token.get_secret_value())
        json_body = is_json(request)
        try:
            params = () if json_body else read_params(request)
        except UnprocessableError as error:
            raise SignatureError(str(error)) from error
        headers = request.headers
        if SIGNATURE_HEADER not in headers:
            headers = {name.lower(): value for name, value in headers.items()}
        if not is_signed(
            url=request.url,
            headers=headers,
            params=params,
            body=request.body,
            json_body=json_body,
            tokens=tokens,
        ):
            raise SignatureError("the webhook's signature is missing or wrong")

    def read(self, request: WebhookRequest, *, received_at: datetime) -> WebhookContents:
        if urlsplit(request.url).path.endswith(STATUS_PATH):
            return WebhookContents(reports=(self.parse_status(request, received_at=received_at),))
        return WebhookContents(messages=(self.parse(request, received_at=received_at),))

    def parse(self, request: WebhookRequest, *, received_at: datetime) -> InboundMessage:
        payload = TwilioWhatsAppPayload.from_params(read_params(request))
        return payload.to_message(received_at=received_at)

    def parse_status(self, request: WebhookRequest, *, received_at: datetime) -> StatusUpdate:
        return read_status(request.url, read_params(request), received_at=received_at)

    async def fetch_media(self, ref: MediaRef, account: TwilioAccount) -> MediaFile:
        async def fetch(token: str) -> MediaFile:
            return await self._media.fetch(ref, httpx2.BasicAuth(account.account_sid, token))

        return await self._tokens.with_either(
            account, fetch, is_refusal=lambda e: isinstance(e, MediaUnauthorizedError)
        )

    async def send(self, message: OutboundMessage, account: TwilioAccount) -> SentMessage:
        return await self._client.send(message, account)

    async def find_sent(
        self, message: OutboundMessage, account: TwilioAccount, *, since: datetime
    ) -> list[SentMessage]:
        return await self._client.find_sent(message, account, since=since)

    async def list_received(self, account: TwilioAccount, *, since: datetime) -> Received:
        return await self._client.list_received(account, since=since)

    async def with_media(self, message: InboundMessage, account: TwilioAccount) -> InboundMessage:
        return await self._client.with_media(message, account)

    async def show_typing(self, message: InboundMessage, account: TwilioAccount) -> None:
        if message.sender.startswith("whatsapp:"):
            await self._client.show_typing(message.message_id, account)


@asynccontextmanager
async def open_twilio(
    settings: TwilioSettings, *, public_url: str, clock: Clock
) -> AsyncGenerator[TwilioChannel]:
    """A channel with its connections, which close when the context ends."""
    async with open_connections(settings.local_origins) as connections:
        tokens = TokenMemory()
        yield TwilioChannel(
            window_s=settings.window_s,
            tokens=tokens,
            client=TwilioClient(
                settings=settings, public_url=public_url, http=connections.api, tokens=tokens
            ),
            media=MediaFetcher(settings=settings, http=connections.files, clock=clock),
        )
