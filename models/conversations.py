"""Conversations as Postgres keeps them. Times are timezone-aware UTC."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Literal

from pydantic import Field

from models.accounts import TwilioAccount
from models.inference import ChatUsage, ToolCall
from models.messages import DeliveryStatus, Frozen, InboundMessage


class Contact(Frozen):
    id: str
    owner_id: str
    channel: str
    key: str
    address: str
    profile_name: str | None = None
    language: str | None = None
    timezone: str | None = None
    opted_out_at: datetime | None = None
    """Since when nothing may be sent to them; None if it may."""


class Conversation(Frozen):
    """`human` means that a person has taken over and the assistant stays silent; `takeovers` counts how
    often that has happened."""

    id: str
    owner_id: str
    account_id: str
    contact: Contact
    recipient: str
    human: bool = False
    takeovers: int = 0
    last_inbound_at: datetime | None = None


class ConsentChange(Frozen):
    """What an opt-out or opt-in did; repeating it tells the same."""

    contact_id: str
    changed: bool


class StoredMessage(Frozen):
    """An inbound message on record. `turn_id` is set once a turn has answered it."""

    id: str
    message: InboundMessage
    transcript: str | None = None
    transcript_language: str | None = None
    audio_seconds: float = 0.0
    turn_id: str | None = None


class HistoryEntry(Frozen):
    """One earlier message as the model will see it, oldest first."""

    role: Literal["user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class ReplyStatus(StrEnum):
    """A reply's own life; `DeliveryStatus` is what the provider says of it afterwards."""

    PENDING = "pending"
    SENDING = "sending"
    UNKNOWN = "unknown"
    SENT = "sent"
    FAILED = "failed"
    PARKED = "parked"
    CANCELED = "canceled"


class ReplyPurpose(StrEnum):
    """Who speaks. An `answer` is the assistant's: it isn't sent any more once a person has taken over."""

    ANSWER = "answer"
    OPT_OUT = "opt_out"
    """Confirms an opt-out: the one message that a contact who has opted out still gets."""
    PERSON = "person"


class NewReply(Frozen):
    """A reply to store; `id` is derived from the turn and the position, so storing repeats nothing."""

    id: str
    position: int
    body: str
    purpose: ReplyPurpose = ReplyPurpose.ANSWER
    segments: int | None = None
    buttons: tuple[str, ...] = ()


class Reply(Frozen):
    id: str
    turn_id: str
    conversation_id: str
    conversation_key: str
    """The key of the outbound mailbox: replies of one conversation leave in order."""
    account_id: str
    """Which of our accounts the conversation began with."""
    channel: str
    account_sid: str
    sender: str
    recipient: str
    position: int
    body: str
    purpose: ReplyPurpose = ReplyPurpose.ANSWER
    as_template: bool = False
    """It is sent as the account's template instead of its text."""
    segments: int | None = None
    """How many SMS it is billed as; None on other channels."""
    buttons: tuple[str, ...] = ()
    """The titles of the buttons under it."""
    not_before: datetime | None = None
    """When it is sent once more, after it failed for a reason that passes."""
    status: ReplyStatus
    provider_message_id: str | None = None
    delivery: DeliveryStatus | None = None
    error_code: int | None = None
    error_message: str | None = None
    sending_since: datetime | None = None
    """When it was last tried to send; None if never, or if it is certain that nothing was sent."""
    changed_at: datetime | None = None
    """Since when it is in this state."""
    trace: dict[str, str] = Field(default_factory=dict[str, str])


class ReplyToSend(Frozen):
    reply: Reply
    account: TwilioAccount | None
    """What its conversation is answered through; None if that isn't stored any more."""


class DeliveryCount(Frozen):
    """How many of an owner's replies are in one state, with the SMS segments that they are."""

    owner_id: str
    status: ReplyStatus
    delivery: DeliveryStatus | None = None
    error_code: int | None = None
    replies: int
    segments: int = 0


class StepTiming(Frozen):
    """`started_s` counts from the acceptance of the turn's first message."""

    step: str
    started_s: float
    seconds: float


class NewNote(Frozen):
    """Something that the owner's people are told, at a web address or a phone number."""

    id: str
    kind: Literal["hand_over"] = "hand_over"
    destination: Literal["webhook", "message"]
    target: str
    content: dict[str, object]


class Note(NewNote):
    """A note that is due: `attempts` counts the tries before this one."""

    owner_id: str
    conversation_id: str
    account_id: str
    """Which of our accounts the conversation began with."""
    channel: str
    account_sid: str
    sender: str
    """The number that the contact wrote to."""
    attempts: int = 0
    created_at: datetime


class TurnOutcome(Frozen):
    """All that one transaction writes when a turn ends.

    `entries` are the messages of this turn, the contact's and those that the agent loop added (tool
    calls and results included), kept so that later turns see them. `notes` are written if the turn hands
    the conversation over. A `refused` turn doesn't count against the quota.
    """

    turn_id: str
    conversation_id: str
    owner_id: str
    message_ids: tuple[str, ...]
    replies: tuple[NewReply, ...]
    entries: tuple[HistoryEntry, ...] = ()
    hand_over: bool = False
    takeovers: int | None = None
    """The conversation's count when the turn began; a different one at its end silences it."""
    notes: tuple[NewNote, ...] = ()
    refused: bool = False
    contact_language: str | None = None
    contact_timezone: str | None = None
    usage: ChatUsage = ChatUsage()
    audio_seconds: float = 0.0
    timings: tuple[StepTiming, ...] = ()
    trace: dict[str, str] = Field(default_factory=dict[str, str])


class CommittedTurn(Frozen):
    """What the transaction that ended a turn made of its replies, in sending order."""

    replies: tuple[Reply, ...]


class BookingRequest(Frozen):
    owner_id: str
    conversation_id: str
    people: int = Field(ge=1, le=500)
    day: str
    time: str


class MessageProgress(Frozen):
    """Where an inbound message is, for a person who asks."""

    message_id: str
    received_at: datetime
    transcript: str | None = None
    turn_id: str | None = None
    timings: tuple[StepTiming, ...] = ()
    replies: tuple[Reply, ...] = ()
