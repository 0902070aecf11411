"""The figures of Now: read once for all who look, those of a long stretch ahead of time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog

from models.console import Traffic, WebhookCounts
from models.errors import RecadoError, StoreUnavailableError
from models.samples import SampledFigures
from serve_app.ports import Clock, ConsoleViews, FigureSamples
from serve_app.tasks import end_tasks

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Stretch:
    """`fresh_s`: how old its figures may be before they are read again. One with `usable_s` is shown as it
    is meanwhile, up to that age: reading a busy day takes longer than a page should."""

    seconds: float
    points: int
    words: str
    fresh_s: float
    usable_s: float = 0.0


STRETCHES = {
    "live": Stretch(300.0, 60, "the last 5 minutes", fresh_s=2.0),
    "hour": Stretch(3_600.0, 60, "the last hour", fresh_s=20.0, usable_s=900.0),
    "day": Stretch(86_400.0, 96, "the last day", fresh_s=60.0, usable_s=900.0),
}
IDLE_EVERY_S = 300.0
"""Between two readings of the long stretches that nobody asks for, so that the next one finds them ready."""
_READ_LIMIT_S = 20.0


@dataclass(frozen=True)
class Figures:
    traffic: Traffic
    webhooks: WebhookCounts
    sampled: SampledFigures | None
    """None of the live stretch: that is told by what is now."""


class FiguresKeeper:
    """Of one ingress replica. However many pages are open, each stretch is read by one at a time."""

    def __init__(self, *, views: ConsoleViews, samples: FigureSamples, clock: Clock) -> None:
        self._views = views
        self._samples = samples
        self._clock = clock
        self._kept: dict[str, tuple[float, Figures]] = {}
        self._reading: dict[str, asyncio.Task[Figures]] = {}

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[FiguresKeeper]:
        """Keeps the long stretches ready until the block ends, and ends what is being read then."""
        ahead = asyncio.create_task(self._read_ahead())
        try:
            yield self
        finally:
            await end_tasks([ahead, *self._reading.values()])

    async def figures(self, name: str) -> Figures:
        """Raises `StoreUnavailableError` if there are none and none can be read."""
        stretch = STRETCHES[name]
        at, kept = self._kept.get(name, (float("-inf"), None))
        age_s = time.monotonic() - at
        if kept is not None and age_s < stretch.fresh_s:
            return kept
        reading = self._read(name)
        if kept is not None and age_s < stretch.usable_s:
            return kept
        # Who stops waiting doesn't stop it: others wait too, and the next one finds it done.
        return await asyncio.shield(reading)

    def _read(self, name: str) -> asyncio.Task[Figures]:
        task = self._reading.get(name)
        if task is None or task.done():
            task = asyncio.create_task(self._read_one(name))
            # It is told by whoever waits; where nobody does, it isn't an error that nobody looked.
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._reading[name] = task
        return task

    async def _read_one(self, name: str) -> Figures:
        stretch = STRETCHES[name]
        try:
            async with asyncio.timeout(_READ_LIMIT_S):
                traffic = await self._views.traffic(seconds=stretch.seconds, points=stretch.points)
                webhooks = await self._views.webhooks(seconds=stretch.seconds)
                sampled = None
                if stretch.usable_s:
                    sampled = await self._samples.figures(
                        seconds=stretch.seconds, points=stretch.points
                    )
        except TimeoutError as error:
            raise StoreUnavailableError("the figures took too long to read") from error
        figures = Figures(traffic, webhooks, sampled)
        self._kept[name] = (time.monotonic(), figures)
        return figures

    async def _read_ahead(self) -> None:
        while True:
            for name, stretch in STRETCHES.items():
                if not stretch.usable_s:
                    continue
                try:
                    await self.figures(name)
                except RecadoError as error:
                    log.debug("console_figures_not_read", stretch=name, error=str(error))
            await self._clock.sleep(IDLE_EVERY_S)
