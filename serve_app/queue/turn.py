"""One turn in a consumer: the handler runs, the lease is kept, the outcome is settled."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Protocol, TypeVar

import structlog

from models.errors import (
    EngineUnavailableError,
    PermanentError,
    QueueUnavailableError,
    RetryableError,
    SnoozeError,
    StaleClaimError,
    StoreUnavailableError,
)
from models.jobs import Claim, DeadLetter, DeadReason
from serve_app.ports import Clock, Queue

log = structlog.get_logger(__name__)

T = TypeVar("T")

SETTLE_LEASES = 10
"""For how many leases a settlement is tried while the queue is away. The fence makes a late one harmless,
and as long as the server is gone nobody else can have the turn."""
STORE_AWAY_S = 2.0
"""How soon a turn is tried again that failed because a store was away; no attempt is counted."""
ENGINE_AWAY_S = 2.0
"""The same for a model, unless that says how long it needs."""
STUBBORN_S = 5.0
"""How long a cancelled handler may take to end before it is left to itself."""


class TurnHandler(Protocol):
    """What a turn is for. Both may be called again for the same jobs after a crash."""

    async def handle(self, claim: Claim) -> None: ...

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        """Jobs were given up. A failure here is logged and changes nothing."""
        ...


class Outcome(StrEnum):
    """How a turn ended."""

    COMPLETED = "completed"
    RETRIED = "retried"
    SNOOZED = "snoozed"
    DEAD = "dead"
    SPLIT = "split"
    """Given up as several jobs; to be repeated one by one."""
    RELEASED = "released"
    STALE = "stale"
    ABANDONED = "abandoned"
    """Not settled: the queue stayed away. The lease will run out and the turn be repeated."""


class TurnTimeoutError(RetryableError):
    """The handler took longer than a turn may."""


class Turn:
    """`run` returns the outcome and the seconds that the handler took."""

    def __init__(
        self,
        *,
        claim: Claim,
        queue: Queue,
        handler: TurnHandler,
        lease_s: float,
        timeout_s: float,
        engine_wait_s: float,
        clock: Clock,
        context: contextvars.Context,
    ) -> None:
        """`context` is the turn's own: of whoever runs it, of its handler and of its heartbeat."""
        self.claim = claim
        self.context = context
        self._engine_wait_s = engine_wait_s
        self._queue = queue
        self._handler = handler
        self._lease_s = lease_s
        self._timeout_s = timeout_s
        self._clock = clock
        self._handling: asyncio.Task[None] | None = None
        self._left: asyncio.Event = asyncio.Event()
        self._lost = False
        self._interrupted = False
        self._timed_out = False

    async def run(self, slots: asyncio.Semaphore) -> tuple[Outcome, float]:
        """The lease is kept from the start, also while the turn waits for a slot."""
        heartbeat = asyncio.create_task(self._keep_lease(), context=self.context)
        seconds = 0.0
        try:
            async with slots:
                if self._lost:
                    return Outcome.STALE, seconds
                if not self._interrupted:
                    started = self._clock.monotonic()
                    error = await self._handle()
                    seconds = self._clock.monotonic() - started
                    if self._lost:
                        return Outcome.STALE, seconds
                    stopped = isinstance(error, asyncio.CancelledError | TurnTimeoutError)
                    if not (self._interrupted and stopped):
                        return await self._settle(error), seconds
            return await self._release(), seconds
        finally:
            heartbeat.cancel()

    def interrupt(self) -> None:
        """Stop and hand the turn back."""
        self._interrupted = True
        self._stop()

    def lose(self) -> None:
        """Somebody else owns the turn: stop and settle nothing."""
        self._lost = True
        self._stop()

    # --- the handler ---------------------------------------------------------------------------

    async def _handle(self) -> BaseException | None:
        """How the handler ended; None is well, also if it ended well in spite of being cancelled."""
        handling = asyncio.create_task(self._handler.handle(self.claim), context=self.context)
        self._handling = handling
        handling.add_done_callback(lambda _: self._left.set())
        timer = asyncio.get_running_loop().call_later(self._timeout_s, self._time_out)
        try:
            await self._left.wait()
        finally:
            timer.cancel()
            self._handling = None
            handling.cancel()
        if not handling.done():
            log.error("handler ignores its cancellation", job_ids=self._job_ids)
            handling.add_done_callback(_retrieve)
            return self._why_stopped(None)
        try:
            return handling.exception()
        except asyncio.CancelledError as cancelled:
            return self._why_stopped(cancelled)

    def _time_out(self) -> None:
        self._timed_out = True
        self._stop()

    def _stop(self) -> None:
        if self._handling is not None:
            self._handling.cancel()
            asyncio.get_running_loop().call_later(STUBBORN_S, self._left.set)

    def _why_stopped(self, cancelled: asyncio.CancelledError | None) -> BaseException:
        """The timeout's cause is the cancellation, whose traceback tells where the handler hung."""
        if not self._timed_out:
            return cancelled or asyncio.CancelledError("the handler was cancelled")
        error = TurnTimeoutError(f"the turn took longer than {self._timeout_s:g} s")
        error.__cause__ = cancelled
        return error

    # --- settling ------------------------------------------------------------------------------

    async def _settle(self, error: BaseException | None) -> Outcome:
        queue, claim = self._queue, self.claim
        try:
            match error:
                case None:
                    await self._persist(lambda: queue.complete(claim))
                    return Outcome.COMPLETED
                case StaleClaimError():
                    return Outcome.STALE
                case SnoozeError():
                    delay_s, reason = error.delay_s, str(error)
                    await self._persist(lambda: queue.snooze(claim, delay_s=delay_s, reason=reason))
                    return Outcome.SNOOZED
                case StoreUnavailableError(away=True) | QueueUnavailableError(away=True):
                    # However long the outage is, it must not make a dead letter of the message.
                    log.warning("turn_waits_for_a_store", job_ids=self._job_ids, error=str(error))
                    reason = str(error)
                    await self._persist(
                        lambda: queue.snooze(claim, delay_s=STORE_AWAY_S, reason=reason)
                    )
                    return Outcome.SNOOZED
                case EngineUnavailableError(died=False) if await self._wait_for_engine(error):
                    return Outcome.SNOOZED
                case PermanentError():
                    letters = await self._persist(
                        lambda: queue.dead_letter(claim, DeadReason.PERMANENT, error)
                    )
                    self._report(error, letters, given_up=True)
                    await announce(self._handler, letters)
                    return Outcome.DEAD if letters else Outcome.SPLIT
                case _:
                    after = error.retry_after if isinstance(error, RetryableError) else None
                    letters = await self._persist(
                        lambda: queue.retry(claim, error, retry_after=after)
                    )
                    self._report(error, letters, given_up=False)
                    await announce(self._handler, letters)
                    return Outcome.DEAD if letters else Outcome.RETRIED
        except StaleClaimError:
            return Outcome.STALE
        except QueueUnavailableError as away:
            log.error(
                "turn not settled, it will be repeated", job_ids=self._job_ids, error=str(away)
            )
            return Outcome.ABANDONED

    async def _wait_for_engine(self, error: EngineUnavailableError) -> bool:
        """Whether the turn may still wait for the model without using up attempts."""
        delay_s, reason = max(error.retry_after or 0.0, ENGINE_AWAY_S), str(error)
        waits = await self._persist(
            lambda: self._queue.snooze(
                self.claim, delay_s=delay_s, reason=reason, limit_s=self._engine_wait_s
            )
        )
        if waits:
            log.warning("turn_waits_for_a_model", job_ids=self._job_ids, error=reason)
        return waits

    async def _release(self) -> Outcome:
        try:
            await self._queue.release(self.claim)
        except StaleClaimError:
            return Outcome.STALE
        except QueueUnavailableError as away:
            log.warning("turn not handed back", job_ids=self._job_ids, error=str(away))
            return Outcome.ABANDONED
        return Outcome.RELEASED

    async def _persist(self, settle: Callable[[], Awaitable[T]]) -> T:
        deadline = self._clock.monotonic() + SETTLE_LEASES * self._lease_s
        pause = 0.05
        while True:
            try:
                return await settle()
            except QueueUnavailableError:
                if self._interrupted or self._clock.monotonic() + pause >= deadline:
                    raise
            await self._clock.sleep(pause)
            pause = min(pause * 2, 1.0)

    async def _keep_lease(self) -> None:
        """While the queue is away the next try comes sooner: other consumers may look for silent ones as
        soon as it is back."""
        interval = self._lease_s / 3
        pause = interval
        while True:
            await self._clock.sleep(pause)
            try:
                await self._queue.heartbeat(self.claim)
                pause = interval
            except StaleClaimError:
                log.warning("turn lost to another consumer", job_ids=self._job_ids)
                self.lose()
                return
            except QueueUnavailableError:
                pause = min(interval / 4, 0.5)
            except Exception:
                log.exception("heartbeat failed", job_ids=self._job_ids)
                pause = min(interval / 4, 0.5)

    # --- reporting -----------------------------------------------------------------------------

    def _report(
        self, error: BaseException, letters: Sequence[DeadLetter], *, given_up: bool
    ) -> None:
        expected = isinstance(error, RetryableError | PermanentError)
        log.warning(
            "turn failed",
            error_type=type(error).__name__,
            error=str(error),
            job_ids=self._job_ids,
            dead_letters=[letter.id for letter in letters],
            will_be="given up" if letters else "repeated one by one" if given_up else "repeated",
            exc_info=None if expected else error,
        )

    @property
    def _job_ids(self) -> list[str]:
        return [job.id for job in self.claim.jobs]


async def announce(handler: TurnHandler, letters: Sequence[DeadLetter]) -> None:
    """Tell the handler about dead letters, if there are any."""
    if not letters:
        return
    try:
        await handler.on_dead(letters)
    except Exception:
        log.exception("on_dead failed", dead_letters=[letter.id for letter in letters])


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at a late result, so that asyncio doesn't complain that nobody did."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("cancelled handler failed late", error_type=type(error).__name__)
