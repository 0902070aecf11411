"""A contact's right to see and to be forgotten, over both stores and all queues."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.conversations import Contact
from models.errors import PermanentError
from models.jobs import DeadLetter
from serve_app.administration.letters import LetterReader, digits_of
from serve_app.ports import Clock, ContactRepository, Queue, TwilioAccountRepository

_PAGE = 200
_MOST_PASSES = 4
_PAUSE_S = 0.5
"""Between two passes of an erasure: for what was on its way between the stores."""
_CONSENT = "consent:"
"""What comes before a conversation's key where its opt-out waits for Postgres."""


@dataclass
class Erasure:
    """What was erased: rows by table, jobs and dead letters by queue."""

    contacts: int = 0
    rows: dict[str, int] = field(default_factory=dict[str, int])
    jobs: int = 0
    dead_letters: int = 0


@dataclass(frozen=True)
class _Person:
    """One that an order names: every name that they have, and the conversations that are known of them."""

    contacts: Sequence[Contact]
    names: frozenset[str]
    keys: Sequence[str]


class ContactPrivacy:
    """`waiting_for` lists the conversations with jobs in Redis whose contact has one of these names;
    `ways_of_writing` is how channels write a number."""

    def __init__(
        self,
        *,
        contacts: ContactRepository,
        accounts: TwilioAccountRepository,
        queues: Mapping[str, Queue],
        waiting_for: Callable[[Collection[str]], Awaitable[Collection[str]]],
        ways_of_writing: Callable[[str], Sequence[str]],
        clock: Clock,
    ) -> None:
        self._contacts = contacts
        self._accounts = accounts
        self._queues = queues
        self._waiting_for = waiting_for
        self._ways_of_writing = ways_of_writing
        self._clock = clock

    async def export(self, which: str, *, owner_id: str | None = None) -> dict[str, Any]:
        """Everything that is kept, as a JSON document. Raises `PermanentError` for what names nobody."""
        person = await self._person(which, owner_id)
        reader = LetterReader(await self._accounts.list_all())
        documents: list[dict[str, Any]] = []
        for contact in person.contacts:
            keys = await self._contacts.conversation_keys(contact.id)
            rows = await self._contacts.export(contact.id)
            documents.append(
                {
                    "contact": contact.model_dump(mode="json"),
                    **rows,
                    "waiting": await self._waiting(keys),
                }
            )
        strays = await self._strays(person, owner_id, reader)
        letters = [
            letter.model_dump(mode="json")
            async for _, letter in self._letters(person, owner_id, reader)
        ]
        now: datetime = self._clock.now()
        return {
            "exported_at": now.isoformat(),
            "contacts": documents,
            "waiting": await self._waiting(strays),
            "dead_letters": letters,
        }

    async def erase(self, which: str, *, owner_id: str | None = None) -> Erasure:
        """Until nothing is left, also of what was just being worked on. Raises `PermanentError` for what
        names nobody, before anything is erased."""
        erased = Erasure()
        reader = LetterReader(await self._accounts.list_all())
        person = await self._person(which, owner_id)
        for _ in range(_MOST_PASSES):
            await self._pass(person, owner_id, reader, erased)
            await self._clock.sleep(_PAUSE_S)
            contacts = await self._contacts.find(which, owner_id=owner_id)
            if not contacts:
                break
            person = await self._described(which, contacts)
        return erased

    async def _person(self, which: str, owner_id: str | None) -> _Person:
        contacts = await self._contacts.find(which, owner_id=owner_id)
        if not contacts and digits_of(which) is None:
            raise PermanentError(
                f"{which} is neither a number nor a contact that is known:"
                " give the number in full (+15551234567), or an address or id as `show` tells it"
            )
        return await self._described(which, contacts)

    async def _described(self, which: str, contacts: Sequence[Contact]) -> _Person:
        told = [which] if digits_of(which) else []
        told += [name for contact in contacts for name in (contact.address, contact.key)]
        names = frozenset(way for name in told for way in self._ways_of_writing(name))
        keys = [key for c in contacts for key in await self._contacts.conversation_keys(c.id)]
        return _Person(contacts, names, keys)

    async def _pass(
        self,
        person: _Person,
        owner_id: str | None,
        reader: LetterReader,
        erased: Erasure,
    ) -> None:
        erased.contacts = max(erased.contacts, len(person.contacts))
        # First the queues: a turn that runs loses its claim, and can settle nothing any more.
        erased.jobs += await self._forget_jobs(person.keys)
        for contact in person.contacts:
            for table, count in (await self._contacts.erase(contact.id)).items():
                erased.rows[table] = erased.rows.get(table, 0) + count
        # A job may have been on its way from the spool, or to the outbound queue.
        strays = await self._strays(person, owner_id, reader)
        erased.jobs += await self._forget_jobs([*person.keys, *strays])
        found = [each async for each in self._letters(person, owner_id, reader)]
        for queue, letter in found:
            erased.dead_letters += await queue.purge(letter.id)

    async def _forget_jobs(self, keys: Collection[str]) -> int:
        every = [name for key in keys for name in (key, f"{_CONSENT}{key}")]
        return sum([await q.forget(key) for q in self._queues.values() for key in every])

    async def _waiting(self, keys: Collection[str]) -> dict[str, list[Any]]:
        return {
            name: [json.loads(job) if job.startswith("{") else job for job in jobs]
            for name, queue in self._queues.items()
            if (jobs := [job for key in keys for job in await queue.mailbox(key)])
        }

    async def _strays(
        self, person: _Person, owner_id: str | None, reader: LetterReader
    ) -> list[str]:
        """Conversations that wait in Redis and that Postgres doesn't know of this person."""
        found = {key.removeprefix(_CONSENT) for key in await self._waiting_for(person.names)}
        strays = sorted(found - set(person.keys))
        if owner_id is None:
            return strays
        return [key for key in strays if await self._waits_for(owner_id, key, reader)]

    async def _waits_for(self, owner_id: str, key: str, reader: LetterReader) -> bool:
        jobs = [
            job
            for queue in self._queues.values()
            for name in (key, f"{_CONSENT}{key}")
            for job in await queue.mailbox(name)
        ]
        return {reader.owner_of(key, job) for job in jobs} == {owner_id}

    async def _letters(
        self, person: _Person, owner_id: str | None, reader: LetterReader
    ) -> AsyncGenerator[tuple[Queue, DeadLetter]]:
        """Dead letters of these conversations, and those that tell of the person. Of one owner's only those
        that are surely that owner's."""
        for queue in self._queues.values():
            start = "-"
            while page := await queue.dead(start=start, count=_PAGE):
                for letter in page:
                    job = letter.job
                    known = job.conversation.removeprefix(_CONSENT) in person.keys
                    if known or (
                        reader.tells_of(letter, person.names)
                        and owner_id in (None, reader.owner_of(job.conversation, job.payload))
                    ):
                        yield queue, letter
                start = f"({page[-1].id}"
