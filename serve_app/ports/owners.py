"""Who runs the service for their customers, and what belongs to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import SecretStr

from models.accounts import Addressee, Document, MonthlyUsage, Owner, Passage, TwilioAccount
from models.conversations import (
    BookingRequest,
    ReplyToSend,
)


class TwilioAccountRepository(Protocol):
    async def by_sid(self, account_sid: str) -> TwilioAccount | None:
        """The account whose token signs webhooks of this AccountSid; any of them if several share it."""
        ...

    async def find(
        self, *, account_sid: str, address: str, messaging_service_sid: str | None = None
    ) -> TwilioAccount | None:
        """By AccountSid and number (JSONB `@>`), else by messaging service."""
        ...

    async def addressee(
        self, *, account_sid: str, address: str, messaging_service_sid: str | None = None
    ) -> Addressee | None:
        """The account as `find` finds it, with its owner, in one look."""
        ...

    async def answering(
        self, account_id: str, *, account_sid: str, address: str
    ) -> TwilioAccount | None:
        """What a conversation is answered through, also where only a messaging service tells accounts apart:
        the account that it began with (ours, by its id), unless that has ended and another one has the number
        now. None if none of them is of this AccountSid any more."""
        ...

    async def to_send(self, reply_id: str) -> ReplyToSend | None:
        """A reply with the account that its conversation is answered through, in one look."""
        ...

    async def save(self, account: TwilioAccount) -> None:
        """Insert or update by `id`; tokens are encrypted at rest."""
        ...

    async def list_all(self) -> list[TwilioAccount]:
        """Every account, inactive ones too, ordered by owner and id."""
        ...

    async def save_all(
        self,
        accounts: Sequence[TwilioAccount],
        *,
        owner: Owner | None = None,
        documents: Sequence[Document] | None = None,
        secrets: Mapping[str, SecretStr | None] | None = None,
    ) -> None:
        """Save `owner`, if given, with `documents` in place of all it had and with `secrets`, and then all
        of `accounts`: everything or nothing. Raises `PermanentError` if an account's owner doesn't
        exist."""
        ...


class OwnerRepository(Protocol):
    async def get(self, owner_id: str) -> Owner | None: ...

    async def save(self, owner: Owner) -> None:
        """Insert or update the owner, its plan and its assistant."""
        ...

    async def list_all(self) -> list[Owner]:
        """Every owner, ordered by id."""
        ...

    async def usage(self, owner_id: str, *, months: int) -> list[MonthlyUsage]:
        """The latest months in which anything was used, the current one first if it is among them."""
        ...

    async def messages_this_month(self, owner_id: str) -> int:
        """Turns counted against the quota in the current month of the owner's time zone."""
        ...

    async def reserve_turn(self, owner_id: str, *, turn_id: str) -> bool:
        """Keep a place in the month's quota for a turn, until it is committed; another try of the turn
        has it already. A turn that is never committed loses its place after an hour. False if the quota
        is used up."""
        ...

    async def request_booking(self, request: BookingRequest, *, key: str) -> str:
        """Store a booking request and return its reference; the same `key` gives the same reference."""
        ...


class DocumentRepository(Protocol):
    """Short texts that an owner's assistant may quote, each by its title."""

    async def save(self, owner_id: str, document: Document) -> None:
        """Insert or replace. Raises `PermanentError` if there is no such owner."""
        ...

    async def remove(self, owner_id: str, title: str) -> bool: ...

    async def list_all(self, owner_id: str) -> list[Document]:
        """Ordered by title."""
        ...

    async def search(self, owner_id: str, question: str, *, limit: int) -> list[Passage]:
        """The passages that share the most telling words with `question`, best first: in any form of
        their language, with or without accents. Empty where nothing fits."""
        ...


class OwnerSecretRepository(Protocol):
    """Secrets of owners' tools and notes, encrypted at rest."""

    async def get(self, owner_id: str, name: str) -> SecretStr | None: ...

    async def names(self, owner_id: str) -> list[str]: ...

    async def save(self, owner_id: str, name: str, value: SecretStr | None) -> None:
        """None forgets it. Raises `PermanentError` if there is no such owner."""
        ...
