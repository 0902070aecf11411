"""The spool in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

from models.jobs import NewJob
from serve_app.ports import SpooledJob
from serve_app.testing.tables import Tables


class MemorySpoolRepository:
    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._sweeping = asyncio.Lock()

    async def add(self, queue: str, job: NewJob, *, debounce_s: float = 0.0) -> None:
        await asyncio.sleep(0)
        spooled = SpooledJob(queue=queue, job=job, debounce_s=debounce_s)
        self._tables.spool.setdefault((queue, job.id), spooled)

    async def batches(self, *, limit: int) -> AsyncGenerator[list[SpooledJob]]:
        while self._tables.spool and not self._sweeping.locked():
            async with self._sweeping:
                batch = list(self._tables.spool.items())[:limit]
                yield [spooled for _, spooled in batch]
                for key, _ in batch:
                    del self._tables.spool[key]

    async def count(self) -> int:
        await asyncio.sleep(0)
        return len(self._tables.spool)

    async def conversations(self, *, limit: int) -> set[str]:
        await asyncio.sleep(0)
        found = {spooled.job.conversation for spooled in self._tables.spool.values()}
        return set(sorted(found)[:limit])
