"""A contact's right to see and to be forgotten, over both stores and all queues."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from models.conversations import Contact
from models.jobs import DeadLetter
from serve_app.ports import Clock, ContactRepository, Queue

_PAGE = 200
_MOST_PASSES = 4
_PAUSE_S = 0.5
"""Between two passes of an erasure: for what was on its way between the stores."""


@dataclass
class Erasure:
    """What was erased: rows by table, jobs and dead letters by queue, other keys of Redis."""

    contacts: int = 0
    rows: dict[str, int] = field(default_factory=dict[str, int])
    jobs: int = 0
    dead_letters: int = 0
    keys: int = 0


class ContactPrivacy:
    """`forget_keys` removes keys of Redis whose names hold a text, and says how many."""

    def __init__(
        self,
        *,
        contacts: ContactRepository,
        queues: Mapping[str, Queue],
        forget_keys: Callable[[str], Awaitable[int]],
        clock: Clock,
    ) -> None:
        self._contacts = contacts
        self._queues = queues
        self._forget_keys = forget_keys
        self._clock = clock

    async def export(self, which: str, *, owner_id: str | None = None) -> dict[str, Any]:
        """Everything that is kept, as a JSON document."""
        contacts = await self._contacts.find(which, owner_id=owner_id)
        documents: list[dict[str, Any]] = []
        keys: list[str] = []
        for contact in contacts:
            mine = await self._contacts.conversation_keys(contact.id)
            keys += mine
            waiting = {
                name: [json.loads(job) if job.startswith("{") else job for job in jobs]
                for name, queue in self._queues.items()
                if (jobs := [job for key in mine for job in await queue.mailbox(key)])
            }
            rows = await self._contacts.export(contact.id)
            documents.append(
                {"contact": contact.model_dump(mode="json"), **rows, "waiting": waiting}
            )
        letters = [
            letter.model_dump(mode="json")
            async for _, letter in self._letters(which, contacts, keys)
        ]
        now: datetime = self._clock.now()
        return {"exported_at": now.isoformat(), "contacts": documents, "dead_letters": letters}

    async def erase(self, which: str, *, owner_id: str | None = None) -> Erasure:
        """Until nothing is left, also of what was just being worked on."""
        erased = Erasure()
        for attempt in range(_MOST_PASSES):
            contacts = await self._contacts.find(which, owner_id=owner_id)
            if attempt and not contacts:
                break
            await self._pass(which, contacts, erased)
            await self._clock.sleep(_PAUSE_S)
        return erased

    async def _pass(self, which: str, contacts: Sequence[Contact], erased: Erasure) -> None:
        erased.contacts = max(erased.contacts, len(contacts))
        keys = [key for c in contacts for key in await self._contacts.conversation_keys(c.id)]
        # First the queues: a turn that runs loses its claim, and can settle nothing any more.
        erased.jobs += await self._forget_jobs(keys)
        for contact in contacts:
            for table, count in (await self._contacts.erase(contact.id)).items():
                erased.rows[table] = erased.rows.get(table, 0) + count
        # A job may have been on its way from the spool, or to the outbound queue.
        erased.jobs += await self._forget_jobs(keys)
        found = [(queue, letter) async for queue, letter in self._letters(which, contacts, keys)]
        for queue, letter in found:
            erased.dead_letters += await queue.purge(letter.id)
        for needle in _needles(which, contacts):
            erased.keys += await self._forget_keys(needle)

    async def _forget_jobs(self, keys: Sequence[str]) -> int:
        return sum([await q.forget(key) for q in self._queues.values() for key in keys])

    async def _letters(
        self, which: str, contacts: Sequence[Contact], keys: Sequence[str]
    ) -> AsyncGenerator[tuple[Queue, DeadLetter]]:
        """Dead letters of these conversations, and those that hold the number anywhere."""
        needles = [re.escape(needle) for needle in _needles(which, contacts)]
        holds = re.compile("|".join(rf"(?<!\d){needle}(?!\d)" for needle in needles) or r"(?!)")
        for queue in self._queues.values():
            start = "-"
            while page := await queue.dead(start=start, count=_PAGE):
                for letter in page:
                    if letter.job.conversation in keys or holds.search(letter.model_dump_json()):
                        yield queue, letter
                start = f"({page[-1].id}"


def _needles(which: str, contacts: Sequence[Contact]) -> set[str]:
    """What gives a contact away: numbers by their digits, however they are written around them."""
    names = {which, *(c.address for c in contacts), *(c.key for c in contacts)}
    needles: set[str] = set()
    for name in names:
        bare = name.removeprefix("whatsapp:").removeprefix("+")
        if len(bare) >= 7:
            needles.add(bare)
    return needles
