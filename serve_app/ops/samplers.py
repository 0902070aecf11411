"""Loops that look at what can't be counted on the way: backlogs, stores, models."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from models.errors import RecadoError
from models.inference import EngineStats
from models.jobs import Backlog
from serve_app.ops import instruments as i
from serve_app.ports import (
    Clock,
    FigureSamples,
    Metrics,
    Queue,
    ReplyRepository,
    SpoolRepository,
)

log = structlog.get_logger(__name__)

EVERY_S = 5.0
"""Between two looks. Ray hands figures on every ten seconds, and Prometheus mostly asks every fifteen."""
NOTED_APART_S = 12.0
"""At the third look the backlogs are written down again, for the console: by one of all senders."""
_NOTE_LIMIT_S = 5.0


class StoreSampler:
    """Backlogs of all queues, open replies, the spool, and whether the stores answer."""

    def __init__(
        self,
        *,
        queues: Sequence[Queue],
        replies: ReplyRepository,
        spool: SpoolRepository,
        samples: FigureSamples,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self._queues = tuple(queues)
        self._replies = replies
        self._spool = spool
        self._samples = samples
        self._noted_at = float("-inf")
        self._metrics = metrics
        self._clock = clock

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(EVERY_S)

    async def look(self) -> None:
        """A store that is away is a figure of its own; nothing is raised."""
        await self._ask("redis", self._look_at_queues)
        await self._ask("postgres", self._look_at_postgres)

    async def _look_at_queues(self) -> None:
        backlogs: list[Backlog] = []
        for queue in self._queues:
            backlog = await queue.backlog()
            backlogs.append(backlog)
            for gauge, value in (
                (i.QUEUE_WAITING, backlog.waiting),
                (i.QUEUE_IN_FLIGHT, backlog.in_flight),
                (i.QUEUE_DELAYED, backlog.delayed),
                (i.QUEUE_DEAD, backlog.dead),
                (i.QUEUE_OLDEST_WAITING, backlog.oldest_waiting_s),
            ):
                self._metrics.set(gauge, float(value), queue=queue.name)
        await self._note(backlogs)

    async def _note(self, backlogs: Sequence[Backlog]) -> None:
        """What can't be written down now isn't made up for: the next look tells of the next moment."""
        now = self._clock.monotonic()
        if now - self._noted_at < NOTED_APART_S:
            return
        self._noted_at = now
        try:
            async with asyncio.timeout(_NOTE_LIMIT_S):
                await self._samples.add_backlogs(backlogs, apart_s=NOTED_APART_S)
        except (RecadoError, TimeoutError) as error:
            log.debug("backlogs_not_noted", error=str(error))
        except Exception:
            # Redis answered: this says nothing of it.
            log.exception("backlogs_not_noted")

    async def _look_at_postgres(self) -> None:
        self._metrics.set(i.SPOOL_JOBS, float(await self._spool.count()))
        counts = {
            status.value: count for status, count in (await self._replies.count_open()).items()
        }
        for status in i.OPEN_REPLIES:
            self._metrics.set(i.REPLIES, float(counts.get(status, 0)), status=status)

    async def _ask(self, store: str, look: Callable[[], Awaitable[None]]) -> None:
        answered = 1.0
        try:
            await look()
        except RecadoError:
            # Whoever works with the store tells why; here it is a figure.
            answered = 0.0
        except Exception:
            log.exception("sample_failed", store=store)
            answered = 0.0
        self._metrics.set(i.STORE_UP, answered, store=store)


class EngineSampler:
    """A model's own counters, handed on as they grow."""

    def __init__(
        self,
        *,
        model: str,
        batch_limit: int,
        stats: Callable[[], EngineStats],
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        """`model` is `speech` or `chat`."""
        self._model = model
        self._batch_limit = batch_limit
        self._stats = stats
        self._metrics = metrics
        self._clock = clock
        self._last: EngineStats | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                self.look()
            except Exception:
                log.exception("sample_failed", model=self._model)
            await self._clock.sleep(EVERY_S)

    def look(self) -> None:
        now, last = self._stats(), self._last
        self._last = now
        work = i.MODEL_AUDIO_SECONDS if self._model == "speech" else i.MODEL_TOKENS
        for counter, field in (
            (i.MODEL_REQUESTS, "requests"),
            (i.MODEL_FAILURES, "failures"),
            (i.MODEL_BATCHES, "batches"),
            (i.MODEL_ROWS, "rows"),
            (i.MODEL_BUSY_SECONDS, "busy_seconds"),
            (work, "work_done"),
        ):
            grown = float(getattr(now, field)) - (float(getattr(last, field)) if last else 0.0)
            self._metrics.add(counter, grown, model=self._model)
        self._metrics.set(i.MODEL_WAITING, float(now.waiting), model=self._model)
        self._metrics.set(i.MODEL_RUNNING, float(now.running), model=self._model)
        self._metrics.set(i.MODEL_BATCH_LIMIT, float(self._batch_limit), model=self._model)
