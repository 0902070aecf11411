"""What the queues' consumers tell of their turns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from opentelemetry.trace import SpanKind

from models.jobs import Claim, DeadLetter
from serve_app.ops.instruments import (
    DEAD_LETTERS,
    QUEUE_PROCESSING_SECONDS,
    QUEUE_WAIT_SECONDS,
    TURNS,
)
from serve_app.ops.tracing import TRACEPARENT, Tracing
from serve_app.ports import Metrics


class Handler(Protocol):
    async def handle(self, claim: Claim) -> None: ...

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None: ...


class MeasuredHandler:
    """A queue's handler whose turns are timed and traced, and whose dead letters are counted, those of
    crashed consumers included.

    A turn goes on with the trace of its first message; those of the others are linked.
    """

    def __init__(
        self, handler: Handler, *, queue: str, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        self._tracing = tracing or Tracing()
        self._handler = handler
        self._queue = queue
        self._metrics = metrics

    async def handle(self, claim: Claim) -> None:
        waited = max(0.0, claim.taken_at - claim.waiting_since)
        self._metrics.observe(QUEUE_WAIT_SECONDS, waited, queue=self._queue)
        if not self._tracing.on:
            await self._handler.handle(claim)
            return
        traces = [job.trace for job in claim.jobs if TRACEPARENT in job.trace]
        parent = traces[0] if traces else None
        self._tracing.past(
            f"wait {self._queue}",
            began=claim.waiting_since,
            ended=claim.taken_at,
            parent=parent,
        )
        with self._tracing.span(
            f"process {self._queue}",
            kind=SpanKind.CONSUMER,
            parent=parent,
            links=traces[1:],
            **{
                "messaging.system": "redis",
                "messaging.destination.name": self._queue,
                "messaging.batch.message_count": len(claim.jobs),
                "recado.attempts": max(job.attempts for job in claim.jobs),
                "recado.correlation_id": claim.jobs[0].trace.get("correlation_id", ""),
            },
        ):
            await self._handler.handle(claim)

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self._metrics.add(DEAD_LETTERS, queue=self._queue, reason=letter.reason.value)
        await self._handler.on_dead(letters)


def settled_hook(queue: str, metrics: Metrics) -> Callable[[Claim, str, float], None]:
    """The consumer's `on_settled`."""

    def settled(claim: Claim, outcome: str, seconds: float) -> None:
        metrics.add(TURNS, queue=queue, outcome=str(outcome))
        metrics.observe(QUEUE_PROCESSING_SECONDS, seconds, queue=queue)

    return settled
