"""A way by which messages come and go: Twilio, Meta's Cloud API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from models.accounts import TwilioAccount
from models.messages import (
    InboundMessage,
    MediaFile,
    MediaRef,
    OutboundMessage,
    SentMessage,
    StatusUpdate,
)


@dataclass(frozen=True, slots=True)
class WebhookRequest:
    """A webhook as it came: `url` is the public URL it was sent to, query included."""

    url: str
    headers: Mapping[str, str]
    body: bytes
    params: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class WebhookForm:
    """What a provider sends its webhooks as, and what it wants to read in answer."""

    content_type: str
    answer: bytes = b""
    answer_type: str = "text/plain"
    has_handshake: bool = False
    """Whether a GET asks first if the address is ours."""


@dataclass(frozen=True, slots=True)
class UnreadablePart:
    """A part of a webhook that can't be understood, and why; `payload` is its text."""

    payload: str
    reason: str


@dataclass(frozen=True, slots=True)
class WebhookContents:
    """What one webhook brings: some providers send one message each, some gather them."""

    messages: tuple[InboundMessage, ...] = ()
    reports: tuple[StatusUpdate, ...] = ()
    unreadable: tuple[UnreadablePart, ...] = ()


@dataclass(frozen=True, slots=True)
class Received:
    """Inbound messages as a provider lists them, oldest first, their media left out. Not `complete` where
    the list was longer than what is read of it; then the oldest are missing."""

    messages: tuple[InboundMessage, ...]
    complete: bool


class Channel(Protocol):
    """A provider. `account` is what `accounts` found for the message's account and number."""

    @property
    def name(self) -> str: ...

    @property
    def max_body_chars(self) -> int:
        """The longest text that one message may carry."""
        ...

    def carries_buttons(
        self, count: int, *, body: str, recipient: str, account: TwilioAccount
    ) -> bool:
        """Whether a message with this text may have so many buttons; else they are told in its text."""
        ...

    def window_s(self, recipient: str) -> float | None:
        """How long after a contact's message it may be answered freely, in seconds; None is for ever."""
        ...

    @property
    def webhook_form(self) -> WebhookForm: ...

    @property
    def lists_messages(self) -> bool:
        """Whether the provider tells afterwards what was sent and received. Without it `find_sent`,
        `list_received` and `with_media` raise `ListUnavailableError`."""
        ...

    def handshake(self, request: WebhookRequest) -> str:
        """The answer to the request by which a provider makes sure that the webhook is ours. Raises
        `SignatureError`, also where the provider has no such thing."""
        ...

    def account_ids(self, request: WebhookRequest) -> tuple[str, ...]:
        """The provider's accounts that a webhook names, not verified yet; raises `SignatureError` if
        there are none."""
        ...

    def verify(self, request: WebhookRequest, account: TwilioAccount) -> None:
        """Raises `SignatureError` unless the account's provider signed exactly this request."""
        ...

    def read(self, request: WebhookRequest, *, received_at: datetime) -> WebhookContents:
        """Raises `UnprocessableError` if the webhook as a whole can't be understood."""
        ...

    async def fetch_media(self, ref: MediaRef, account: TwilioAccount) -> MediaFile:
        """Raises `MediaNotReadyError` or `MediaRejectedError`."""
        ...

    async def send(self, message: OutboundMessage, account: TwilioAccount) -> SentMessage:
        """Send once, never twice. Raises `SendDeferredError` (surely not sent), `SendRejectedError`
        (never will be) or `SendUnknownError` (may have been sent)."""
        ...

    async def find_sent(
        self, message: OutboundMessage, account: TwilioAccount, *, since: datetime
    ) -> list[SentMessage]:
        """What the provider lists as sent to that recipient since then, oldest first."""
        ...

    async def list_received(self, account: TwilioAccount, *, since: datetime) -> Received:
        """What contacts wrote to the account since then. Raises `ListUnavailableError`."""
        ...

    async def with_media(self, message: InboundMessage, account: TwilioAccount) -> InboundMessage:
        """A listed message with its files, which take a request of their own. Raises
        `ListUnavailableError`."""
        ...

    async def show_typing(self, message: InboundMessage, account: TwilioAccount) -> None:
        """Best effort; never raises for a provider's refusal."""
        ...
