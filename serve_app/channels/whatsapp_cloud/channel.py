"""The WhatsApp Cloud API as a `serve_app.ports.Channel`.

An account is a WhatsApp business account: `account_sid` is its id, `auth_token` the secret of the app that
its webhooks come from, `access_token` what the API is called with, and its numbers' addresses are their ids.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime

from pydantic import SecretStr

from models.accounts import TwilioAccount
from models.errors import (
    ListUnavailableError,
    SignatureError,
    UnprocessableError,
)
from models.messages import (
    MAX_BUTTONS,
    InboundMessage,
    MediaFile,
    MediaRef,
    OutboundMessage,
    SentMessage,
)
from serve_app.channels.connections import open_connections
from serve_app.channels.media import MediaFetcher
from serve_app.channels.whatsapp_cloud.client import WhatsAppCloudClient
from serve_app.channels.whatsapp_cloud.payload import (
    CHANNEL,
    account_ids,
    read_document,
    read_webhook,
)
from serve_app.channels.whatsapp_cloud.signature import challenge, is_signed
from serve_app.ports import Clock, Received, WebhookContents, WebhookForm, WebhookRequest
from serve_app.settings import WhatsAppCloudSettings

MAX_BODY_CHARS = 4096
"""The API refuses longer texts."""
MAX_INTERACTIVE_CHARS = 1024
"""Of a message with buttons."""
NO_LIST = "the Cloud API doesn't tell afterwards what was sent or received"


class WhatsAppCloudChannel:
    """Implements `serve_app.ports.Channel`."""

    def __init__(
        self,
        *,
        client: WhatsAppCloudClient,
        verify_token: SecretStr | None,
        window_s: float = 86_400.0,
    ) -> None:
        self._window_s = window_s
        self._client = client
        self._verify_token = verify_token.get_secret_value() if verify_token else None

    @property
    def name(self) -> str:
        return CHANNEL

    @property
    def max_body_chars(self) -> int:
        return MAX_BODY_CHARS

    def carries_buttons(
        self, count: int, *, body: str, recipient: str, account: TwilioAccount
    ) -> bool:
        return 0 < count <= MAX_BUTTONS and 0 < len(body) <= MAX_INTERACTIVE_CHARS

    def window_s(self, recipient: str) -> float | None:
        return self._window_s

    @property
    def webhook_form(self) -> WebhookForm:
        return WebhookForm("application/json", has_handshake=True)

    @property
    def lists_messages(self) -> bool:
        return False

    def handshake(self, request: WebhookRequest) -> str:
        return challenge(request.params, self._verify_token)

    def account_ids(self, request: WebhookRequest) -> tuple[str, ...]:
        try:
            found = account_ids(read_document(request.body))
        except UnprocessableError as error:
            raise SignatureError(str(error)) from error
        if not found:
            raise SignatureError("the webhook names no account")
        return found

    def verify(self, request: WebhookRequest, account: TwilioAccount) -> None:
        secrets = [account.auth_token.get_secret_value()]
        if account.secondary_token is not None:
            secrets.append(account.secondary_token.get_secret_value())
        if not is_signed(request.headers, request.body, secrets):
            raise SignatureError("the webhook's signature is missing or wrong")

    def read(self, request: WebhookRequest, *, received_at: datetime) -> WebhookContents:
        return read_webhook(
            read_document(request.body), media_url=self._client.media_url, received_at=received_at
        )

    async def fetch_media(self, ref: MediaRef, account: TwilioAccount) -> MediaFile:
        return await self._client.fetch_media(ref, account)

    async def send(self, message: OutboundMessage, account: TwilioAccount) -> SentMessage:
        return await self._client.send(message, account)

    async def find_sent(
        self, message: OutboundMessage, account: TwilioAccount, *, since: datetime
    ) -> list[SentMessage]:
        raise ListUnavailableError(NO_LIST)

    async def list_received(self, account: TwilioAccount, *, since: datetime) -> Received:
        raise ListUnavailableError(NO_LIST)

    async def with_media(self, message: InboundMessage, account: TwilioAccount) -> InboundMessage:
        raise ListUnavailableError(NO_LIST)

    async def show_typing(self, message: InboundMessage, account: TwilioAccount) -> None:
        await self._client.show_typing(message, account)


@asynccontextmanager
async def open_whatsapp_cloud(
    settings: WhatsAppCloudSettings, *, verify_token: SecretStr | None, clock: Clock
) -> AsyncGenerator[WhatsAppCloudChannel]:
    """A channel with its connections, which close when the context ends."""
    async with open_connections(settings.local_origins) as connections:
        media = MediaFetcher(settings=settings, http=connections.files, clock=clock)
        yield WhatsAppCloudChannel(
            client=WhatsAppCloudClient(settings=settings, http=connections.api, media=media),
            window_s=settings.window_s,
            verify_token=verify_token,
        )
