"""Notes to owners in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from models.conversations import Note
from serve_app.testing.tables import Tables


class MemoryNoteRepository:
    def __init__(self, tables: Tables, *, now: Callable[[], datetime]) -> None:
        self._tables = tables
        self._now = now

    async def take_due(self, *, limit: int, lease_s: float) -> list[Note]:
        await asyncio.sleep(0)
        now = self._now()
        due = [s for s in self._tables.notes.values() if not s.done and s.next_at <= now]
        taken: list[Note] = []
        for stored in sorted(due, key=lambda each: each.next_at)[:limit]:
            taken.append(stored.note)
            attempts = stored.note.attempts + 1
            stored.note = stored.note.model_copy(update={"attempts": attempts})
            stored.next_at = now + timedelta(seconds=lease_s)
        return sorted(taken, key=lambda note: note.created_at)

    async def retry(
        self, note_id: str, *, delay_s: float, error: str, counted: bool = True
    ) -> None:
        await asyncio.sleep(0)
        stored = self._tables.notes.get(note_id)
        if stored is not None and not stored.done:
            stored.next_at = self._now() + timedelta(seconds=delay_s)
            stored.error = error
            attempts = stored.note.attempts - int(not counted)
            stored.note = stored.note.model_copy(update={"attempts": attempts})

    async def settle(self, note_id: str, *, error: str | None = None) -> None:
        await asyncio.sleep(0)
        stored = self._tables.notes.get(note_id)
        if stored is not None and not stored.done:
            stored.done, stored.error = True, error

    async def not_delivered(self, note_id: str, *, account_sid: str, error: str) -> bool:
        await asyncio.sleep(0)
        stored = self._tables.notes.get(note_id)
        if stored is None or stored.note.account_sid != account_sid:
            return False
        stored.done, stored.error = True, error
        return True
