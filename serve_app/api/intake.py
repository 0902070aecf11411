"""Keeps what a webhook brought: on Redis, else in Postgres' spool."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

import structlog

from models.errors import QueueUnavailableError, StoreUnavailableError
from models.jobs import NewJob
from serve_app.api.deadline import within
from serve_app.api.store_watch import StoreWatch
from serve_app.ports import Queue, SpoolRepository

log = structlog.get_logger(__name__)

Publish = Callable[[], Awaitable[object]]

AWAY_LIMIT_S = 0.1
"""How long a webhook waits for a store that is believed to be away, when the other one failed it too."""


class Kept(StrEnum):
    """Where a webhook is; the values are those of the metric's label `outcome`."""

    NEW = "accepted"
    KNOWN = "duplicate"
    SPOOLED = "spooled"


class Intake:
    """Tries Redis first, unless it is known to be away or the conversation has messages in the spool."""

    def __init__(
        self,
        *,
        spool: SpoolRepository,
        watch: StoreWatch,
        publish_timeout_s: float,
        spool_timeout_s: float,
    ) -> None:
        self._spool = spool
        self._watch = watch
        self._publish_timeout_s = publish_timeout_s
        self._spool_timeout_s = spool_timeout_s

    def refuse_if_full(self, queue: Queue) -> None:
        """Raises `OverloadedError`."""
        self._watch.refuse_if_full(queue.name)

    async def keep(
        self, queue: Queue, job: NewJob, publish: Publish, *, debounce_s: float = 0.0
    ) -> Kept:
        """Raises `StoreUnavailableError` if neither store took it."""
        watch = self._watch
        spool_first = watch.redis_away or watch.must_wait_its_turn(job.conversation)
        reasons: list[str] = []
        for to_spool in (spool_first, not spool_first):
            try:
                if to_spool:
                    await self._to_spool(queue, job, debounce_s)
                    return Kept.SPOOLED
                return Kept.NEW if await self._to_redis(publish) else Kept.KNOWN
            except (QueueUnavailableError, StoreUnavailableError, TimeoutError) as error:
                reasons.append(str(error) or "no answer in time")
        log.error("webhook_refused", job=job.id, reasons=reasons)
        raise StoreUnavailableError("neither Redis nor Postgres can keep the message")

    async def _to_redis(self, publish: Publish) -> bool:
        watch = self._watch
        limit = AWAY_LIMIT_S if watch.redis_away else self._publish_timeout_s
        try:
            async with asyncio.timeout(min(limit, self._publish_timeout_s)):
                new = bool(await publish())
        except (QueueUnavailableError, TimeoutError) as error:
            watch.redis_failed(error)
            raise
        watch.redis_worked()
        return new

    async def _to_spool(self, queue: Queue, job: NewJob, debounce_s: float) -> None:
        watch = self._watch
        limit = AWAY_LIMIT_S if watch.postgres_away else self._spool_timeout_s
        # Slow isn't away: only the watch tells a server that hangs, since the next ones wait less for it, and
        # what they don't wait for is refused.
        # Before the row can be there: nothing of this conversation may overtake it from here on.
        watch.spooled(job.conversation)
        try:
            await within(
                min(limit, self._spool_timeout_s),
                self._spool.add(queue.name, job, debounce_s=debounce_s),
            )
        except StoreUnavailableError as error:
            watch.postgres_failed(error)
            raise
        # Once more: a look that began before the row was there may have ended meanwhile.
        watch.spooled(job.conversation)
        watch.postgres_worked()
        log.info("webhook_spooled", job=job.id, queue=queue.name)
