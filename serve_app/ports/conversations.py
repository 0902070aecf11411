"""What was said, by whom and when."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

from models.accounts import TwilioAccount
from models.conversations import (
    CommittedTurn,
    Contact,
    Conversation,
    HistoryEntry,
    MessageProgress,
    Note,
    StoredMessage,
    TurnOutcome,
)
from models.messages import (
    InboundMessage,
)


class ConversationRepository(Protocol):
    async def record(
        self, messages: Sequence[InboundMessage], *, owner_id: str, account: TwilioAccount
    ) -> tuple[Conversation, list[StoredMessage]]:
        """Store messages of one conversation (idempotent), with their contact, in order.

        A contact known by the address is from then on known by the external id that a message brings.

        Returned messages carry a `turn_id` if an earlier try already answered them, and their
        transcript if one was made.
        """
        ...

    async def known_as(self, message: InboundMessage) -> str:
        """By which key its contact is known. It is the message's own, unless the message tells only an
        address and a contact of that business is known by an external id and has this address."""
        ...

    async def save_transcript(
        self, message_id: str, *, text: str, language: str | None, audio_seconds: float
    ) -> None: ...

    async def history(self, conversation_id: str, *, limit: int) -> list[HistoryEntry]:
        """The latest entries of finished turns, oldest first, starting at a user's message."""
        ...

    async def commit_turn(self, outcome: TurnOutcome) -> CommittedTurn | None:
        """End a turn in one transaction: messages answered, replies stored, entries, usage, notes.

        If a person has taken over since the turn began, or the contact has opted out, the assistant's
        replies are stored as canceled and its words are no part of the history. Returns None, with nothing
        written, if another try committed one of these messages first. Raises `RetryableError` if the turn
        lost its place in the quota and there is no other.
        """
        ...

    async def is_human(self, conversation_id: str) -> bool: ...

    async def with_people(self, *, limit: int) -> list[Conversation]:
        """Conversations that a person has taken over, the latest message first."""
        ...

    async def set_human(self, conversation_id: str, *, human: bool) -> bool:
        """Hand a conversation to a person, or back to the assistant. False if there is none."""
        ...

    async def answered(
        self, *, channel: str, account_sid: str, message_ids: Sequence[str]
    ) -> set[str]:
        """Those of the provider's message ids that a turn has answered."""
        ...

    async def forget_media(self, *, before: datetime, limit: int) -> int:
        """Drop the references to files from messages received before then, `limit` at most; returns from
        how many. What was made of the files (transcripts) stays."""
        ...

    async def quoted(self, conversation_id: str, *, message_id: str) -> str | None:
        """The text of a message of this conversation, ours or the contact's, by the provider's id."""
        ...

    async def progress(self, *, account_sid: str, message_id: str) -> MessageProgress | None:
        """By the provider's ids."""
        ...


class ContactRepository(Protocol):
    """Everything that is kept of a contact, and for how long."""

    async def find(self, which: str, *, owner_id: str | None = None) -> list[Contact]:
        """By number, however a channel writes it, by address, key or id; with every owner unless one is
        given."""
        ...

    async def conversation_keys(self, contact_id: str) -> list[str]: ...

    async def conversation_ids(self, contact_id: str) -> list[str]: ...

    async def export(self, contact_id: str) -> dict[str, list[dict[str, Any]]]:
        """Rows by table, as JSON."""
        ...

    async def erase(self, contact_id: str) -> dict[str, int]:
        """Delete all that belongs to the contact, in one transaction; returns rows by table. What was
        counted for the owner stays."""
        ...

    async def sweep(self, *, limit: int) -> int:
        """Delete what is older than its owner keeps it, at most `limit` turns and messages of each owner;
        returns how many rows. Replies that may still be sent keep their turns, and contacts who opted out
        stay known."""
        ...

    async def give_back_due(self) -> int:
        """Give back the conversations in which nothing was written for as long as their owners say."""
        ...


class NoteRepository(Protocol):
    """What owners' people are to be told; notes are written by `commit_turn`."""

    async def take_due(self, *, limit: int, lease_s: float) -> list[Note]:
        """Notes to deliver now, oldest first. They are due again after `lease_s` unless settled."""
        ...

    async def retry(
        self, note_id: str, *, delay_s: float, error: str, counted: bool = True
    ) -> None:
        """Due again after that time. What isn't `counted` was no try."""
        ...

    async def settle(self, note_id: str, *, error: str | None = None) -> None:
        """Delivered, or given up because of `error`."""
        ...

    async def not_delivered(self, note_id: str, *, account_sid: str, error: str) -> bool:
        """The provider accepted the note and reports that it didn't arrive. False if this account has none
        of that id."""
        ...
