"""Loops that survive the queue's absence: taking, promoting and reclaiming run in one of these each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

import structlog

from models.errors import QueueUnavailableError
from serve_app.ports import Clock

log = structlog.get_logger(__name__)

FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 2.0


class Outage:
    """One outage of one queue, seen from several loops: told once when it begins and once when it ends."""

    def __init__(self, *, queue: str, clock: Clock) -> None:
        self._queue = queue
        self._clock = clock
        self._since: float | None = None
        self._ended_at: float | None = None

    def failed(self, error: Exception) -> None:
        if self._since is None:
            self._since = self._clock.monotonic()
            log.warning("queue is away", queue=self._queue, error=str(error))

    def worked(self) -> None:
        if self._since is not None:
            self._ended_at = self._clock.monotonic()
            seconds = round(self._ended_at - self._since, 3)
            self._since = None
            log.info("queue is back", queue=self._queue, seconds=seconds)

    def ended_within(self, seconds: float) -> bool:
        """Whether the queue is away, or was not longer than `seconds` ago."""
        if self._since is not None:
            return True
        ended = self._ended_at
        return ended is not None and self._clock.monotonic() - ended < seconds


class Loop:
    """Calls `step` until stopped. `step` returns how long to wait until the next call, in seconds, and tells
    the outage when the queue answered.

    While the queue is away the pauses grow, with jitter so that consumers don't return in step. Any other
    failure is logged and treated the same way: a loop never ends by itself.
    """

    def __init__(
        self,
        *,
        name: str,
        step: Callable[[], Awaitable[float]],
        stopping: asyncio.Event,
        outage: Outage,
        clock: Clock,
        random: Random,
    ) -> None:
        self._name = name
        self._step = step
        self._stopping = stopping
        self._outage = outage
        self._clock = clock
        self._random = random

    async def run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            try:
                pause = await self._step()
                failures = 0
            except QueueUnavailableError as error:
                self._outage.failed(error)
                failures += 1
                pause = self._backoff(failures)
            except Exception:
                log.exception("queue loop failed", loop=self._name)
                failures += 1
                pause = self._backoff(failures)
            if pause > 0:
                await self._wait(pause)

    def _backoff(self, failures: int) -> float:
        ceiling = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 16))
        return self._random.uniform(ceiling / 2, ceiling)

    async def _wait(self, seconds: float) -> None:
        """Sleep by the clock, or until stopping."""
        stop = asyncio.create_task(self._stopping.wait())
        sleep = asyncio.create_task(self._clock.sleep(seconds))
        try:
            await asyncio.wait({stop, sleep}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
            sleep.cancel()
