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
        left: set[tuple[str, str]] = set()
        while not self._sweeping.locked():
            async with self._sweeping:
                fresh = [item for key, item in self._tables.spool.items() if key not in left]
                batch = fresh[:limit]
                if not batch:
                    return
                left |= {(item.queue, item.job.id) for item in batch}
                yield batch
                for item in batch:
                    del self._tables.spool[item.queue, item.job.id]

    async def count(self, *, queue: str | None = None, at_most: int | None = None) -> int:
        await asyncio.sleep(0)
        found = sum(queue in (None, spooled.queue) for spooled in self._tables.spool.values())
        return found if at_most is None else min(found, at_most)

    async def conversations(self, *, limit: int) -> set[str]:
        await asyncio.sleep(0)
        found = {spooled.job.conversation for spooled in self._tables.spool.values()}
        return set(sorted(found)[:limit])
