"""The tables that the in-memory repositories share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from models.accounts import Document, Owner, TwilioAccount
from models.conversations import (
    BookingRequest,
    Contact,
    Conversation,
    HistoryEntry,
    Note,
    Reply,
    StoredMessage,
    TurnOutcome,
)
from serve_app.ports import SpooledJob


@dataclass
class Usage:
    messages: int = 0
    audio_seconds: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    sms_segments: int = 0


@dataclass
class StoredReply:
    reply: Reply
    changed_at: datetime
    former_message_ids: frozenset[str] = frozenset()
    takeovers: int = 0
    """The conversation's count when the reply was written."""
    created_at: datetime = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class StoredNote:
    note: Note
    next_at: datetime
    done: bool = False
    error: str | None = None


@dataclass
class StoredConsent:
    stop: bool
    at: datetime
    changed: bool


@dataclass
class Tables:
    """What the repositories of one `MemoryStore` share; tests may look into it."""

    accounts: dict[str, TwilioAccount] = field(default_factory=dict[str, TwilioAccount])
    owners: dict[str, Owner] = field(default_factory=dict[str, Owner])
    bookings: dict[tuple[str, str], tuple[str, BookingRequest]] = field(
        default_factory=dict[tuple[str, str], tuple[str, BookingRequest]]
    )
    contacts: dict[tuple[str, str, str], Contact] = field(
        default_factory=dict[tuple[str, str, str], Contact]
    )
    consents: dict[str, dict[str, StoredConsent]] = field(
        default_factory=dict[str, dict[str, StoredConsent]]
    )
    """By contact and the message's id."""
    conversations: dict[str, Conversation] = field(default_factory=dict[str, Conversation])
    keys: dict[tuple[str, str, str], str] = field(default_factory=dict[tuple[str, str, str], str])
    """Conversation ids by owner, account and conversation key."""
    messages: dict[str, StoredMessage] = field(default_factory=dict[str, StoredMessage])
    """By job id, which is their id here."""
    entries: dict[str, list[HistoryEntry]] = field(default_factory=dict[str, list[HistoryEntry]])
    turns: dict[str, TurnOutcome] = field(default_factory=dict[str, TurnOutcome])
    replies: dict[str, StoredReply] = field(default_factory=dict[str, StoredReply])
    usage: dict[tuple[str, int, int], Usage] = field(
        default_factory=dict[tuple[str, int, int], Usage]
    )
    reservations: dict[str, tuple[tuple[str, int, int], datetime]] = field(
        default_factory=dict[str, tuple[tuple[str, int, int], datetime]]
    )
    """Turns with a place in a month's quota, and since when."""
    documents: dict[tuple[str, str], Document] = field(
        default_factory=dict[tuple[str, str], Document]
    )
    """By owner and title."""
    secrets: dict[tuple[str, str], SecretStr] = field(
        default_factory=dict[tuple[str, str], SecretStr]
    )
    notes: dict[str, StoredNote] = field(default_factory=dict[str, StoredNote])
    spool: dict[tuple[str, str], SpooledJob] = field(
        default_factory=dict[tuple[str, str], SpooledJob]
    )


def contact_key(contact: Contact) -> tuple[str, str, str]:
    return (contact.owner_id, contact.channel, contact.key)


def held(tables: Tables, key: tuple[str, int, int]) -> int:
    """Places in a month's quota that running turns hold."""
    return sum(found == key for found, _ in tables.reservations.values())


def of_turns(tables: Tables, turn_ids: Sequence[str]) -> tuple[Reply, ...]:
    """Replies of these turns in sending order."""
    return tuple(
        stored.reply for stored in tables.replies.values() if stored.reply.turn_id in turn_ids
    )


def count_segments(tables: Tables, reply: Reply, now: datetime) -> None:
    """Of an SMS that the provider has accepted."""
    owner = tables.owners.get(tables.conversations[reply.conversation_id].owner_id)
    if owner is not None and reply.segments:
        tables.usage.setdefault(month(owner, now), Usage()).sms_segments += reply.segments


def month(owner: Owner, now: datetime) -> tuple[str, int, int]:
    """The key of the owner's usage: their calendar month."""
    local = now.astimezone(ZoneInfo(owner.timezone))
    return (owner.id, local.year, local.month)
