"""Contacts in memory: found, exported, erased, swept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, TypeVar

from pydantic import BaseModel

from models.conversations import Contact, Conversation
from serve_app.store.addresses import ways_of_writing
from serve_app.testing.tables import Tables

K = TypeVar("K")
V = TypeVar("V")


class MemoryContactRepository:
    def __init__(self, tables: Tables, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._now = now

    async def find(self, which: str, *, owner_id: str | None = None) -> list[Contact]:
        await asyncio.sleep(0)
        names = ways_of_writing(which)
        found = [
            contact
            for contact in self._tables.contacts.values()
            if (contact.address in names or contact.key in names or contact.id == which)
            and owner_id in (None, contact.owner_id)
        ]
        return sorted(found, key=lambda each: (each.owner_id, each.channel, each.id))

    async def conversation_keys(self, contact_id: str) -> list[str]:
        await asyncio.sleep(0)
        ids = {conversation.id for conversation in self._of(contact_id)}
        return sorted(key[2] for key, found in self._tables.keys.items() if found in ids)

    async def conversation_ids(self, contact_id: str) -> list[str]:
        await asyncio.sleep(0)
        keys = {found: key[2] for key, found in self._tables.keys.items()}
        return sorted((c.id for c in self._of(contact_id)), key=lambda each: keys[each])

    async def export(self, contact_id: str) -> dict[str, list[dict[str, Any]]]:
        await asyncio.sleep(0)
        tables, belonging = self._tables, self._belonging(contact_id)
        rows: dict[str, list[BaseModel]] = {
            "contacts": [c for c in tables.contacts.values() if c.id == contact_id],
            "conversations": list(self._of(contact_id)),
            "messages": [tables.messages[each].message for each in belonging["messages"]],
            "turns": [tables.turns[each] for each in belonging["turns"]],
            "replies": [tables.replies[each].reply for each in belonging["replies"]],
            "notes": [tables.notes[each].note for each in belonging["notes"]],
            "inbox_spool": [
                spooled.job for key, spooled in tables.spool.items() if key in belonging["spool"]
            ],
        }
        return {
            name: [each.model_dump(mode="json") for each in found] for name, found in rows.items()
        }

    async def erase(self, contact_id: str) -> dict[str, int]:
        await asyncio.sleep(0)
        tables, belonging = self._tables, self._belonging(contact_id)
        ids = {conversation.id for conversation in self._of(contact_id)}
        counts = {
            "inbox_spool": _drop(tables.spool, belonging["spool"]),
            "reservations": _drop(tables.reservations, belonging["messages"]),
            "consents": len(tables.consents.pop(contact_id, {})),
            "notes": _drop(tables.notes, belonging["notes"]),
            "replies": _drop(tables.replies, belonging["replies"]),
            "entries": sum(len(tables.entries.pop(each, [])) for each in ids),
            "messages": _drop(tables.messages, belonging["messages"]),
            "turns": _drop(tables.turns, belonging["turns"]),
            "bookings": _drop(
                tables.bookings,
                [k for k, (_, asked) in tables.bookings.items() if asked.conversation_id in ids],
            ),
            "conversations": _drop(tables.conversations, ids),
            "contacts": _drop(
                tables.contacts, [k for k, c in tables.contacts.items() if c.id == contact_id]
            ),
        }
        _drop(tables.keys, [key for key, found in tables.keys.items() if found in ids])
        return {name: count for name, count in counts.items() if count}

    async def sweep(self, *, limit: int) -> int:
        """Of messages that no turn has taken: when the others were written isn't kept here."""
        await asyncio.sleep(0)
        tables, total = self._tables, 0
        for owner in tables.owners.values():
            if owner.retention_days is None:
                continue
            cutoff = self._now() - timedelta(days=owner.retention_days)
            keys = {k[2] for k, _ in tables.keys.items() if k[0] == owner.id}
            old = [
                stored.id
                for stored in tables.messages.values()
                if stored.turn_id is None
                and stored.message.conversation_key in keys
                and stored.message.received_at < cutoff
            ]
            total += _drop(tables.messages, old[:limit])
        return total

    async def give_back_due(self) -> int:
        await asyncio.sleep(0)
        count = 0
        for conversation in list(self._tables.conversations.values()):
            hours = self._tables.owners[
                conversation.owner_id
            ].assistant.people.give_back_after_hours
            last = conversation.last_inbound_at
            if not conversation.human or hours is None or last is None:
                continue
            if last < self._now() - timedelta(hours=hours):
                given = conversation.model_copy(update={"human": False})
                self._tables.conversations[conversation.id] = given
                count += 1
        return count

    def _of(self, contact_id: str) -> list[Conversation]:
        return [c for c in self._tables.conversations.values() if c.contact.id == contact_id]

    def _belonging(self, contact_id: str) -> dict[str, set[Any]]:
        """Keys by table."""
        tables = self._tables
        ids = {conversation.id for conversation in self._of(contact_id)}
        keys = {key[2] for key, found in tables.keys.items() if found in ids}
        turns = {name for name, turn in tables.turns.items() if turn.conversation_id in ids}
        return {
            "turns": turns,
            "messages": {
                name
                for name, stored in tables.messages.items()
                if stored.message.conversation_key in keys
            },
            "replies": {n for n, s in tables.replies.items() if s.reply.conversation_id in ids},
            "notes": {n for n, s in tables.notes.items() if s.note.conversation_id in ids},
            "spool": {k for k, s in tables.spool.items() if s.job.conversation in keys},
        }


def _drop(table: dict[K, V], keys: Collection[K]) -> int:
    return sum(table.pop(key, None) is not None for key in list(keys))
