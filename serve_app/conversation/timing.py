"""How long the steps of a turn took, told on the scale of the person who waits."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime

from models.conversations import StepTiming
from serve_app.ops.tracing import Tracing
from serve_app.ports import Clock


class StepTimer:
    """Collects steps. Zero is the acceptance of the turn's first message."""

    def __init__(self, *, clock: Clock, tracing: Tracing | None = None) -> None:
        self._tracing = tracing or Tracing()
        self._clock = clock
        self._zero = self._taken = clock.monotonic()
        self._steps: list[StepTiming] = []

    def accepted_at(self, moment: datetime) -> None:
        """Set the zero, and with it the time in queue: what passed until this timer was made."""
        accepted_s_ago = (self._clock.now() - moment).total_seconds()
        self._zero = min(self._taken, self._clock.monotonic() - accepted_s_ago)
        waited = round(self._taken - self._zero, 6)
        self._steps = [
            StepTiming(step="queued", started_s=0.0, seconds=waited),
            *(s.model_copy(update={"started_s": s.started_s + waited}) for s in self._steps),
        ]

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        started = self._clock.monotonic()
        try:
            with self._tracing.span(name):
                yield
        finally:
            ended = self._clock.monotonic()
            self._steps.append(
                StepTiming(
                    step=name,
                    started_s=round(started - self._zero, 6),
                    seconds=round(ended - started, 6),
                )
            )

    @property
    def steps(self) -> tuple[StepTiming, ...]:
        return tuple(self._steps)
