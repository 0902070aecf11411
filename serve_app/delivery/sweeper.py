"""Publishes what was stored but never reached a queue."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing

import structlog

from models.conversations import ReplyStatus
from models.errors import QueueUnavailableError, RecadoError
from models.jobs import JobState
from serve_app.delivery.publisher import ReplyPublisher
from serve_app.ports import Clock, Queue, ReplyRepository, SpooledJob, SpoolRepository
from serve_app.tasks import end_tasks

log = structlog.get_logger(__name__)

SPOOL_BATCH = 500
SPOOL_CONCURRENCY = 16
"""Conversations whose spooled jobs are published at the same time."""
REPLY_BATCH = 1_000
"""Unsent replies that are looked at in one sweep. Many may be rightly unsent (waiting for a retry, or dead
letters), and must not hide a forgotten one."""
LOST = "its job was given up while it wasn't known whether it had been sent"

_Line = tuple[str, str]
"""A queue and a conversation: what keeps its order."""

_IN_DOUBT = (ReplyStatus.SENDING, ReplyStatus.UNKNOWN)


class Sweeper:
    """Two loops in one: spooled webhooks go to their queues, forgotten replies to the outbound one."""

    def __init__(
        self,
        *,
        spool: SpoolRepository,
        replies: ReplyRepository,
        queues: Mapping[str, Queue],
        publisher: ReplyPublisher,
        clock: Clock,
        interval_s: float,
        spool_interval_s: float,
        older_than_s: float,
    ) -> None:
        self._spool = spool
        self._replies = replies
        self._queues = queues
        self._publisher = publisher
        self._clock = clock
        self._interval_s = interval_s
        self._spool_interval_s = spool_interval_s
        self._older_than_s = older_than_s
        self._failing: set[str] = set()
        self._stuck: set[str] = set()
        """Spooled jobs that have been complained of."""

    async def run(self) -> None:
        """Until cancelled; a store that is away is tried again at the next round."""
        async with asyncio.TaskGroup() as loops:
            loops.create_task(self._repeat(self.sweep_spool, self._spool_interval_s))
            loops.create_task(self._repeat(self.sweep_replies, self._interval_s))

    async def sweep_spool(self) -> int:
        """Publish spooled jobs; those published before the spool was left are recognised by their ids."""
        count = 0
        stuck: set[_Line] = set()
        # Closed at once when publishing fails: an open batch keeps its transaction and its lock.
        async with aclosing(self._spool.batches(limit=SPOOL_BATCH)) as batches:
            async for batch in batches:
                await self._publish_all(batch, stuck)
                count += len(batch)
        if count:
            log.warning("spool_drained", jobs=count)
        return count

    async def sweep_replies(self) -> int:
        """Publish replies again that are long unsent and on no queue."""
        count = 0
        unsent = await self._replies.unsent(older_than_s=self._older_than_s, limit=REPLY_BATCH)
        for reply in unsent:
            state = await self._publisher.publish(reply)
            count += state is JobState.UNKNOWN
            if state is JobState.DEAD and reply.status in _IN_DOUBT:
                # Whoever buried the job couldn't write this down.
                await self._replies.park(reply.id, error=LOST)
                log.error("reply_parked", reply_id=reply.id, error=LOST)
        if count:
            log.warning("forgotten_replies_published", replies=count)
        return count

    async def _publish_all(self, batch: list[SpooledJob], stuck: set[_Line]) -> None:
        """A conversation's jobs one after the other, in order; conversations beside each other. What can't be
        published though its queue is there is taken out of the batch, with all that is behind it: its
        conversation is `stuck`."""
        conversations: dict[_Line, list[SpooledJob]] = {}
        for item in batch:
            conversations.setdefault((item.queue, item.job.conversation), []).append(item)
        slots = asyncio.Semaphore(SPOOL_CONCURRENCY)

        async def publish(line: _Line, items: Sequence[SpooledJob]) -> None:
            async with slots:
                for item in items:
                    if line not in stuck and not await self._publish(item):
                        stuck.add(line)
                    if line in stuck:
                        batch.remove(item)

        tasks = [asyncio.create_task(publish(*each)) for each in conversations.items()]
        try:
            await asyncio.gather(*tasks)
        finally:
            # The first failure ends the batch; the rest must not go on behind the next one's back.
            await end_tasks(tasks)

    async def _publish(self, item: SpooledJob) -> bool:
        """False if this job in particular can't be published. Raises `QueueUnavailableError` if none can."""
        try:
            await self._queues[item.queue].publish(item.job, debounce_s=item.debounce_s)
        except Exception as error:
            if isinstance(error, QueueUnavailableError) and error.away:
                raise
            if item.job.id not in self._stuck:
                log.exception("spooled_job_is_stuck", job=item.job.id, queue=item.queue)
            self._stuck.add(item.job.id)
            return False
        self._stuck.discard(item.job.id)
        return True

    async def _repeat(self, sweep: Callable[[], Awaitable[int]], interval_s: float) -> None:
        while True:
            await self._try(sweep)
            await self._clock.sleep(interval_s)

    async def _try(self, sweep: Callable[[], Awaitable[int]]) -> None:
        name = sweep.__name__
        try:
            await sweep()
        except RecadoError as error:
            if name not in self._failing:
                log.warning("sweep_failed", sweep=name, error=str(error))
            self._failing.add(name)
        except Exception:
            # The replica's health hangs on this loop; one bad row must not restart it for ever.
            log.exception("sweep_failed", sweep=name)
        else:
            if name in self._failing:
                log.info("sweep_works_again", sweep=name)
            self._failing.discard(name)
