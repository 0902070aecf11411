"""What goes in and out of a channel, in one shape for every provider."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from models.consent import ConsentWord, consent_word, tapped_consent_word


class Frozen(BaseModel):
    """Base of the value types: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def from_queue(cls, text: str) -> Self:
        """What another version may have written: fields that are unknown here are passed over, so that a
        rolling update loses nothing. Raises `ValidationError`."""
        return cls.model_validate_json(text, extra="ignore")


class MessageKind(StrEnum):
    """What a contact sent, whichever words its provider has for it."""

    TEXT = "text"
    AUDIO = "audio"
    IMAGE = "image"
    VIDEO = "video"
    DOCUMENT = "document"
    STICKER = "sticker"
    LOCATION = "location"
    CONTACT = "contact"
    BUTTON = "button"
    """A button of ours was tapped."""
    LIST = "list"
    """An item of a list of ours was chosen."""
    REACTION = "reaction"
    ORDER = "order"
    NOTICE = "notice"
    """The provider tells something about the contact; nobody wrote."""
    OTHER = "other"
    """What the provider says can't be shown, or a kind that is newer than this code."""

    @classmethod
    def _missing_(cls, value: object) -> MessageKind:
        return cls.OTHER


class MediaRef(Frozen):
    """A file at the provider, not fetched yet."""

    url: str
    content_type: str = "application/octet-stream"
    filename: str | None = None

    @property
    def is_audio(self) -> bool:
        return self.content_type.split("/", 1)[0].strip().lower() == "audio"


class MediaFile(Frozen):
    """A fetched file: `content_type` as the provider's response said."""

    content: bytes
    content_type: str


class Location(Frozen):
    """A place that a contact shared; degrees of WGS 84."""

    latitude: float
    longitude: float
    name: str | None = None
    address: str | None = None


class ContactCard(Frozen):
    """Somebody whom a contact told of."""

    name: str = ""
    phones: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    organization: str | None = None


class Choice(Frozen):
    """What was tapped: its title is the message's body, `id` is what we called it when we sent it."""

    id: str | None = None
    title: str = ""
    description: str | None = None


class Referral(Frozen):
    """The advertisement or post through which a contact came."""

    headline: str | None = None
    body: str | None = None
    source_type: str | None = None
    source_id: str | None = None
    source_url: str | None = None
    click_id: str | None = None


class InboundMessage(Frozen):
    """One message from a contact to a business.

    `account_id` and `message_id` are the provider's (Twilio: AccountSid, MessageSid);
    together with `channel` they identify the message. `contact_key` identifies the person
    on that account (the provider's business-scoped id where there is one, else the address).

    `in_reply_to` is the provider's id of an earlier message. `extra` holds what the provider told
    besides, under its own names.
    """

    channel: str
    account_id: str
    message_id: str
    sender: str
    recipient: str
    contact_key: str
    body: str = ""
    media: tuple[MediaRef, ...] = ()
    kind: MessageKind = MessageKind.TEXT
    location: Location | None = None
    contacts: tuple[ContactCard, ...] = ()
    choice: Choice | None = None
    reaction: str | None = None
    """An emoji; None also where an earlier one was taken back."""
    referral: Referral | None = None
    forwarded: bool = False
    frequently_forwarded: bool = False
    profile_name: str | None = None
    messaging_service_id: str | None = None
    in_reply_to: str | None = None
    opt_out_type: ConsentWord | None = None
    """What the provider has understood of it, and has answered itself."""
    received_at: datetime
    extra: dict[str, str] = Field(default_factory=dict[str, str])

    @property
    def consent(self) -> ConsentWord | None:
        """Whether the contact stops messages, wants them again, or asks who this is."""
        if self.opt_out_type is not None:
            return self.opt_out_type
        if self.media:
            return None
        tapped = self.kind in (MessageKind.BUTTON, MessageKind.LIST)
        return tapped_consent_word(self.body) if tapped else consent_word(self.body)

    @property
    def is_sms(self) -> bool:
        return self.sender.startswith("+")

    @property
    def job_id(self) -> str:
        """The id on which publishing is idempotent."""
        return f"{self.channel}:{self.account_id}:{self.message_id}"

    @property
    def conversation_key(self) -> str:
        """The key inside which messages are processed in order, one turn at a time."""
        return f"{self.channel}:{self.account_id}:{self.recipient}:{self.contact_key}"


class DeliveryStatus(StrEnum):
    """A provider's delivery states, in the order in which a message may pass them."""

    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    SENDING = "sending"
    SENT = "sent"
    DELIVERED = "delivered"
    READ = "read"
    PARTIALLY_DELIVERED = "partially_delivered"
    UNDELIVERED = "undelivered"
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def rank(self) -> int:
        """Updates of a lower rank than the stored one are late and are ignored."""
        return _RANKS[self]


_RANKS: dict[DeliveryStatus, int] = {
    DeliveryStatus.ACCEPTED: 0,
    DeliveryStatus.SCHEDULED: 1,
    DeliveryStatus.QUEUED: 2,
    DeliveryStatus.SENDING: 3,
    DeliveryStatus.SENT: 4,
    DeliveryStatus.PARTIALLY_DELIVERED: 5,
    DeliveryStatus.UNDELIVERED: 6,
    DeliveryStatus.FAILED: 6,
    DeliveryStatus.CANCELED: 6,
    DeliveryStatus.DELIVERED: 7,
    DeliveryStatus.READ: 8,
}


class Fault(StrEnum):
    """What a provider's error means for a message. SLOW_DOWN: the sender is too fast; RETRY soon, DEFER for
    hours, HOLD until the account is mended;
    AMBIGUOUS may have been sent; the others are final for this message, and tell why."""

    SLOW_DOWN = "slow_down"
    RETRY = "retry"
    DEFER = "defer"
    HOLD = "hold"
    AMBIGUOUS = "ambiguous"
    FINAL = "final"
    OPTED_OUT = "opted_out"
    TEMPLATE_NEEDED = "template_needed"
    BAD_MEDIA = "bad_media"


class StatusUpdate(Frozen):
    """A delivery report. `reply_id` is ours, echoed through the callback URL's query."""

    channel: str
    account_id: str
    message_id: str
    status: DeliveryStatus
    reply_id: str | None = None
    error_code: int | None = None
    error_message: str | None = None
    fault: Fault | None = None
    """What `error_code` means."""
    received_at: datetime

    @property
    def job_id(self) -> str:
        return f"{self.channel}:{self.account_id}:{self.message_id}:{self.status.value}"

    @property
    def conversation_key(self) -> str:
        return f"status:{self.account_id}:{self.message_id}"


MAX_BUTTONS = 3
"""Under a message that WhatsApp takes without an approved template."""


class TemplateContent(Frozen):
    """A template that the provider has approved, named as in `models.accounts.ReplyTemplate`, with the
    values of its variables: by position (`1`, `2`, …) or by name."""

    content_sid: str | None = None
    name: str | None = None
    language: str | None = None
    variables: dict[str, str] = Field(default_factory=dict[str, str])


class OutboundMessage(Frozen):
    """One message to a contact, short enough for its channel."""

    reply_id: str
    account_id: str
    sender: str
    recipient: str
    body: str
    messaging_service_id: str | None = None
    template: TemplateContent | None = None
    """Sent instead of the body."""
    buttons: tuple[str, ...] = ()
    """Their titles: answers that a tap gives. Only what `Channel.carries_buttons` allows."""


class SentMessage(Frozen):
    """What the provider said when it accepted (or listed) a message."""

    message_id: str
    status: DeliveryStatus
    body: str = ""
    recipient: str = ""
    created_at: datetime | None = None
