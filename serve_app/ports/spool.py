"""Where webhooks wait while the queue is away."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from pydantic import BaseModel

from models.jobs import NewJob


class SpoolRepository(Protocol):
    """Webhooks accepted while Redis was away."""

    async def add(self, queue: str, job: NewJob, *, debounce_s: float = 0.0) -> None:
        """Idempotent on the job's id."""
        ...

    def batches(self, *, limit: int) -> AsyncGenerator[list[SpooledJob]]:
        """Spooled jobs in order of arrival, locked while the caller handles each batch and deleted when
        it asks for the next one; other sweepers skip them. What the caller takes out of the list stays, and
        isn't in a later batch. Close it (`aclosing`): a batch that wasn't handled is unlocked then."""
        ...

    async def count(self, *, queue: str | None = None, at_most: int | None = None) -> int:
        """Jobs of one queue, or of all; not counted further than `at_most`."""
        ...

    async def conversations(self, *, limit: int) -> set[str]:
        """Some of the conversations that have jobs here: all of them if they are fewer than `limit`."""
        ...


class SpooledJob(BaseModel):
    queue: str
    job: NewJob
    debounce_s: float = 0.0
