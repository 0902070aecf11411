"""Runs a handler over a queue's turns: many at a time, each under its own lease."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Sequence
from random import SystemRandom

import structlog

from models.jobs import Claim, DeadLetter, log_fields
from serve_app.clock import SystemClock
from serve_app.ports import Clock, Queue
from serve_app.queue.scheduler import Loop, Outage
from serve_app.queue.turn import Outcome, Turn, TurnHandler, announce

__all__ = ["Consumer", "Outcome", "SettledHook", "TurnHandler"]

log = structlog.get_logger(__name__)

PROMOTED_IS_FULL = 100
"""So many at once means that more may be due."""
HAND_BACK_S = 10.0
"""How long the end of a drain may take after the grace period."""

SettledHook = Callable[[Claim, Outcome, float], None]
"""Called after each turn with its outcome and the handler's seconds; for metrics."""


class Consumer:
    """`run` works until `drain` was called and is through. Once drained it can't be run again.

    `consumer_id` must be unique to this start of this process: it is part of every fence.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        handler: TurnHandler,
        consumer_id: str,
        concurrency: int,
        lease_s: float,
        turn_timeout_s: float,
        block_s: float,
        scan_interval_s: float,
        promote_interval_s: float,
        drain_s: float,
        engine_wait_s: float = 900.0,
        clock: Clock | None = None,
        on_settled: SettledHook | None = None,
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._consumer_id = consumer_id
        self._concurrency = concurrency
        self._lease_s = lease_s
        self._turn_timeout_s = turn_timeout_s
        self._block_s = block_s
        self._scan_interval_s = scan_interval_s
        self._promote_interval_s = promote_interval_s
        self._drain_s = drain_s
        self._engine_wait_s = engine_wait_s
        self._clock = clock or SystemClock()
        self._on_settled = on_settled
        self._random = SystemRandom()
        self._slots = asyncio.Semaphore(concurrency)
        self._stopping = asyncio.Event()
        self._room = asyncio.Event()
        self._finished = asyncio.Event()
        self._outage = Outage(queue=queue.name, clock=self._clock)
        self._turns: dict[asyncio.Task[None], Turn] = {}
        self._announcements: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []

    @property
    def in_flight(self) -> int:
        return len(self._turns)

    @property
    def healthy(self) -> bool:
        """Whether the loops are alive: false before `run`, and from the beginning of a drain."""
        return bool(self._loops) and not any(loop.done() for loop in self._loops)

    async def run(self) -> None:
        """Cancelling it hands running turns back at once."""
        steps = {"take": self._take, "promote": self._promote, "reclaim": self._reclaim}
        self._loops = [
            asyncio.create_task(
                Loop(
                    name=name,
                    step=step,
                    stopping=self._stopping,
                    outage=self._outage,
                    clock=self._clock,
                    random=self._random,
                ).run(),
                name=f"{self._queue.name}-{name}",
            )
            for name, step in steps.items()
        ]
        grace_s = 0.0
        try:
            await self._stopping.wait()
            grace_s = self._drain_s
        finally:
            self._stopping.set()
            self._room.set()
            try:
                await self._wind_up(grace_s)
            finally:
                self._finished.set()

    async def drain(self) -> None:
        """Take nothing more, let running turns finish for `drain_s`, then hand the rest back."""
        started = bool(self._loops)
        self._stopping.set()
        self._room.set()
        if started:
            await self._finished.wait()

    # --- the loops' steps ----------------------------------------------------------------------

    async def _take(self) -> float:
        while len(self._turns) >= self._concurrency and not self._stopping.is_set():
            self._room.clear()
            await self._room.wait()
        if not self._stopping.is_set():
            free = self._concurrency - len(self._turns)
            claims = await self._queue.take(
                consumer=self._consumer_id, count=free, block_s=self._block_s
            )
            self._outage.worked()
            self._start(claims)
        return 0.0

    async def _promote(self) -> float:
        promoted = await self._queue.promote()
        self._outage.worked()
        return 0.0 if promoted >= PROMOTED_IS_FULL else self._promote_interval_s

    async def _reclaim(self) -> float:
        # After an outage every lease looks expired; the living show themselves within a third of one.
        if self._outage.ended_within(self._lease_s / 2):
            return self._scan_interval_s
        free = self._concurrency - len(self._turns)
        if free > 0:
            claims = await self._queue.reclaim(consumer=self._consumer_id, count=free)
            self._outage.worked()
            if claims:
                log.warning("turns of a silent consumer taken over", turns=len(claims))
            self._start(claims)
            self._announce(self._queue.pop_crash_letters())
        return self._scan_interval_s

    # --- turns ---------------------------------------------------------------------------------

    def _start(self, claims: Sequence[Claim]) -> None:
        for claim in claims:
            # Our own turn, whose lease ran out: only the new claim can be settled.
            for running in self._turns.values():
                if (running.claim.shard, running.claim.entry_id) == (claim.shard, claim.entry_id):
                    running.lose()
            turn = Turn(
                claim=claim,
                queue=self._queue,
                handler=self._handler,
                lease_s=self._lease_s,
                timeout_s=self._turn_timeout_s,
                engine_wait_s=self._engine_wait_s,
                clock=self._clock,
                context=contextvars.copy_context(),
            )
            if self._stopping.is_set():
                turn.interrupt()
            # The handler's task shares the turn's context: what it binds is on the turn's own lines too.
            task = asyncio.create_task(self._run(turn), context=turn.context)
            self._turns[task] = turn
            task.add_done_callback(self._forget)

    def _announce(self, letters: Sequence[DeadLetter]) -> None:
        """Beside the loop: a handler that waits for a store must not hold up what is to be reclaimed."""
        if letters:
            task = asyncio.create_task(announce(self._handler, letters))
            self._announcements.add(task)
            task.add_done_callback(self._announcements.discard)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._turns[task]
        self._room.set()

    async def _run(self, turn: Turn) -> None:
        claim = turn.claim
        known = [fields for job in claim.jobs if (fields := log_fields(job.trace))]
        structlog.contextvars.bind_contextvars(
            queue=self._queue.name,
            job_ids=[job.id for job in claim.jobs],
            conversation=claim.conversation,
            **(known[0] if known else {}),
        )
        try:
            outcome, seconds = await turn.run(self._slots)
        except Exception:
            log.exception("turn ended unsettled, it will be repeated")
            return
        log.debug("turn settled", outcome=outcome.value, seconds=round(seconds, 4))
        if self._on_settled is not None:
            try:
                self._on_settled(claim, outcome, seconds)
            except Exception:
                log.exception("on_settled failed")

    async def _wind_up(self, grace_s: float) -> None:
        try:
            async with asyncio.timeout(grace_s + self._block_s + HAND_BACK_S):
                await self._finish_turns(grace_s)
        except TimeoutError:
            log.error("drain took too long", loops=len(self._loops), turns=len(self._turns))
        finally:
            for task in (*self._loops, *self._turns, *self._announcements):
                task.cancel()

    async def _finish_turns(self, grace_s: float) -> None:
        """Loops end by themselves: cancelling a read could lose what it had just been given."""
        if self._turns and grace_s > 0:
            await asyncio.wait(list(self._turns), timeout=grace_s)
        for turn in self._turns.values():
            turn.interrupt()
        await asyncio.wait(self._loops)
        # What the last read brought was started interrupted.
        if rest := [*self._turns, *self._announcements]:
            await asyncio.wait(rest)
