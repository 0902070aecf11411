"""Looks at both stores beside the webhooks, so that no webhook has to find out for itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from models.errors import OverloadedError, QueueUnavailableError, StoreUnavailableError
from serve_app.api.deadline import within
from serve_app.ports import Clock, Queue, SpoolRepository

log = structlog.get_logger(__name__)

LOOK_TIMEOUT_S = 1.0
STALE_LOOKS = 5
"""A figure older than so many intervals sheds nothing."""
MOST_SPOOLED = 10_000
"""Conversations with spooled messages that are kept in mind; with more, every webhook is spooled."""
RETRY_SHED_S = 30.0


@dataclass(slots=True)
class _Figure:
    waiting: int
    at: float


class StoreWatch:
    """What is known of Redis and Postgres, at most `interval_s` seconds old.

    A message must not overtake one of its conversation that still lies in the spool. So the
    conversations that have messages there are kept in mind; theirs go to the spool too until it is empty.
    """

    def __init__(
        self,
        *,
        queues: Sequence[Queue],
        spool: SpoolRepository,
        clock: Clock,
        max_backlog: int,
        interval_s: float,
    ) -> None:
        self._queues = tuple(queues)
        self._spool = spool
        self._clock = clock
        self._max_backlog = max_backlog
        self._interval_s = interval_s
        self._figures: dict[str, _Figure] = {}
        self._spool_figures: dict[str, _Figure] = {}
        self._spooled: set[str] = set()
        self._spooled_since_look: set[str] = set()
        self._too_many_spooled = False
        self.redis_away = False
        self.postgres_away = False

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(self._interval_s)

    async def look(self) -> None:
        """One look at everything; a store that is away is noted, never raised."""
        await asyncio.gather(
            self._guard(self._look_at_redis, self.redis_failed),
            self._guard(self._look_at_spool, self.postgres_failed),
        )

    # --- what webhooks ask ---------------------------------------------------------------------

    def refuse_if_full(self, queue: str) -> None:
        """Raises `OverloadedError` if more turns wait in the queue, or webhooks in its spool, than may;
        unless the figure is old."""
        problem = self._problem(queue)
        if problem is not None:
            raise OverloadedError(problem, retry_after=RETRY_SHED_S)

    def shedding(self) -> str | None:
        """What is too full, for a person."""
        problems = [problem for queue in self._queues if (problem := self._problem(queue.name))]
        return "; ".join(problems) or None

    def must_wait_its_turn(self, conversation: str) -> bool:
        """Whether the conversation may have messages in the spool."""
        return self._too_many_spooled or conversation in self._spooled

    # --- what webhooks find out ----------------------------------------------------------------

    def spooled(self, conversation: str) -> None:
        self._spooled.add(conversation)
        self._spooled_since_look.add(conversation)

    def redis_failed(self, error: BaseException) -> None:
        if not self.redis_away:
            self.redis_away = True
            log.error("redis_away", error=_text(error), webhooks="go to the spool")

    def redis_worked(self) -> None:
        if self.redis_away:
            self.redis_away = False
            log.warning("redis_back")

    def postgres_failed(self, error: BaseException) -> None:
        if not self.postgres_away:
            self.postgres_away = True
            log.error("postgres_away", error=_text(error))

    def postgres_worked(self) -> None:
        if self.postgres_away:
            self.postgres_away = False
            log.warning("postgres_back")

    # --- looking -------------------------------------------------------------------------------

    async def _look_at_redis(self) -> None:
        for queue in self._queues:
            backlog = await within(LOOK_TIMEOUT_S, queue.backlog())
            # With a debounce window and with retries, what waits is in `delayed` too.
            waiting = backlog.waiting + backlog.delayed
            self._figures[queue.name] = _Figure(waiting, self._clock.monotonic())
        self.redis_worked()

    async def _look_at_spool(self) -> None:
        self._spooled_since_look = set()
        found = await within(LOOK_TIMEOUT_S, self._spool.conversations(limit=MOST_SPOOLED + 1))
        self._too_many_spooled = len(found) > MOST_SPOOLED
        # What was spooled while the answer was on its way may be missing in it.
        self._spooled = found | self._spooled_since_look
        for queue in self._queues:
            # While Redis is away its backlog is unknown, and this is what grows.
            waiting = 0
            if found:
                count = self._spool.count(queue=queue.name, at_most=self._max_backlog + 1)
                waiting = await within(LOOK_TIMEOUT_S, count)
            self._spool_figures[queue.name] = _Figure(waiting, self._clock.monotonic())
        self.postgres_worked()

    async def _guard(
        self, look: Callable[[], Awaitable[None]], failed: Callable[[BaseException], None]
    ) -> None:
        try:
            await look()
        except (QueueUnavailableError, StoreUnavailableError, TimeoutError) as error:
            failed(error)
        except Exception as error:
            # The watch must outlive whatever it meets: nothing else finds out that a store is back.
            log.exception("look_failed")
            failed(error)

    def _problem(self, queue: str) -> str | None:
        for figures, what in (
            (self._figures, "turns wait in"),
            (self._spool_figures, "webhooks are spooled for"),
        ):
            figure = figures.get(queue)
            if figure is None or figure.waiting <= self._max_backlog:
                continue
            if self._clock.monotonic() - figure.at <= STALE_LOOKS * self._interval_s:
                return f"{figure.waiting} {what} {queue}, more than {self._max_backlog}"
        return None


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
