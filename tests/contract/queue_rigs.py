"""The two queues that the contract is run against, and how time passes for each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

from models.jobs import Claim, NewJob
from serve_app.ports import Queue
from serve_app.queue.connection import connect
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings
from serve_app.testing.queue import MemoryQueue

FAST = QueueSettings(
    lease_s=0.2,
    max_attempts=3,
    max_crashes=3,
    backoff_base_s=0.05,
    backoff_cap_s=0.15,
    max_turn_jobs=4,
    debounce_max_s=0.4,
    command_timeout_s=2.0,
)


class LongestWait(Random):
    """Jitter at its upper end, so that delays are known."""

    def uniform(self, a: float, b: float) -> float:
        return b


class ManualClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self._now = datetime(2030, 1, 1, tzinfo=UTC)
        self._elapsed = 0.0
        self._sleepers: list[tuple[float, asyncio.Event]] = []

    def now(self) -> datetime:
        return self._now + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        due, woken = self._elapsed + seconds, asyncio.Event()
        self._sleepers.append((due, woken))
        await woken.wait()

    def advance(self, seconds: float) -> None:
        self._elapsed += seconds
        for due, woken in self._sleepers:
            if due <= self._elapsed:
                woken.set()
        self._sleepers = [(due, woken) for due, woken in self._sleepers if not woken.is_set()]


@dataclass
class Rig:
    queue: Queue
    settings: QueueSettings
    clock: ManualClock | None = None

    async def pass_time(self, seconds: float) -> None:
        if self.clock is None:
            # A little more: Redis' clock counts whole milliseconds.
            await asyncio.sleep(seconds + 0.003)
        else:
            self.clock.advance(seconds)

    def time(self) -> float:
        return time.monotonic() if self.clock is None else self.clock.monotonic()

    async def publish(
        self, *ids: str, conversation: str = "c", key: str = "", debounce_s: float = 0.0
    ) -> None:
        for job_id in ids:
            job = new_job(job_id, conversation, key)
            assert await self.queue.publish(job, debounce_s=debounce_s)

    async def take(self, *, consumer: str = "one", count: int = 10) -> list[Claim]:
        return await self.queue.take(consumer=consumer, count=count, block_s=0.0)

    async def take_one(self, *, consumer: str = "one") -> Claim:
        (claim,) = await self.take(consumer=consumer)
        return claim

    async def promote_when_due(self, *, since: float | None = None) -> float:
        """Wait until a delayed turn became ready; returns the seconds that took, counted from `since`."""
        started = self.time()
        while await self.queue.promote() == 0:
            assert self.time() - started < 3.0, "nothing became due"
            await self.pass_time(0.005)
        return self.time() - (started if since is None else since)

    async def lose(self) -> list[Claim]:
        """Let the lease of all running turns expire and have them taken over."""
        await self.pass_time(self.settings.lease_s + 0.02)
        return await self.queue.reclaim(consumer="heir", count=10)


def new_job(job_id: str, conversation: str = "c", key: str = "") -> NewJob:
    return NewJob(
        id=job_id,
        conversation=conversation,
        payload=f'{{"body": "ação de {job_id}"}}',
        trace={"correlation_id": f"trace-{job_id}"},
        fairness_key=key,
    )


def ids(claim: Claim) -> list[str]:
    return [job.id for job in claim.jobs]


@asynccontextmanager
async def memory_rig(settings: QueueSettings) -> AsyncIterator[Rig]:
    clock = ManualClock()
    queue = MemoryQueue(name="inbound", settings=settings, clock=clock, random=LongestWait())
    yield Rig(queue, settings, clock)


@asynccontextmanager
async def valkey_rig(url: str, settings: QueueSettings) -> AsyncIterator[Rig]:
    redis = connect(url, settings)
    queue = QueueService(redis=redis, name="inbound", settings=settings, random=LongestWait())
    yield Rig(queue, settings)
    await redis.aclose()
