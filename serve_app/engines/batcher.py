"""Dynamic batching: rows of concurrent requests become batches.

A batch starts when it is full, or when its oldest row has waited `wait_s`, as soon as one of
`in_flight` slots is free. Rows with different keys never share a batch; among batches that could
start, the one whose first row came first does. A row may let others pass: the windows of a long
recording queue as if each had come a batch later than the one before, so that they neither starve short
recordings nor are starved by them. The engine's `Admission` bounds how many rows wait.
"""

from __future__ import annotations

import asyncio
from bisect import insort
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from models.errors import EngineUnavailableError, InferenceError, RetryableError

log = structlog.get_logger(__name__)

RowT = TypeVar("RowT")
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Batched(Generic[ResultT]):
    """A row's result and how many rows were in its batch."""

    value: ResultT
    batch_size: int


@dataclass(eq=False, slots=True)
class _Waiting(Generic[RowT, ResultT]):
    row: RowT
    result: asyncio.Future[Batched[ResultT]]
    due: float
    place: int
    """Among all rows: where it queues."""


class Batcher(Generic[RowT, ResultT]):
    """`run` gets the rows of one batch and returns as many results, in the same order.

    A failing batch of several rows is repeated row by row, so that one bad row fails alone; a
    `RetryableError` is no row's fault and fails the batch at once.
    """

    def __init__(
        self,
        *,
        run: Callable[[Sequence[RowT]], Awaitable[Sequence[ResultT]]],
        max_batch_size: int,
        wait_s: float,
        in_flight: int = 1,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._wait_s = wait_s
        self._in_flight = in_flight
        self._buckets: dict[Hashable, list[_Waiting[RowT, ResultT]]] = {}
        self._arrivals = 0
        self._batches: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._stopped = False
        self.batches = 0
        self.rows = 0
        """Rows that went into batches."""
        self.running = 0
        """Rows in batches now."""
        self.busy_seconds = 0.0
        """Sum of the batches' times; batches in flight together count each."""

    @property
    def waiting(self) -> int:
        return sum(len(bucket) for bucket in self._buckets.values())

    async def submit(self, row: RowT, *, key: Hashable = None, behind: int = 0) -> Batched[ResultT]:
        """Wait for the row's result, queueing as if it had come `behind` full batches later.

        Cancelling the caller takes a waiting row out of the queue.

        Raises what `run` raised for this row, or `EngineUnavailableError` once stopped.
        """
        if self._stopped:
            raise EngineUnavailableError("the engine is stopping")
        loop = asyncio.get_running_loop()
        self._arrivals += 1
        waiting = _Waiting[RowT, ResultT](
            row,
            loop.create_future(),
            due=loop.time() + self._wait_s,
            place=self._arrivals + behind * self._max_batch_size,
        )
        insort(self._buckets.setdefault(key, []), waiting, key=lambda other: other.place)
        self._pump()
        try:
            return await waiting.result
        except asyncio.CancelledError:
            self._forget(key, waiting)
            raise

    async def stop(self, *, grace_s: float) -> None:
        """Fail waiting rows, then wait up to `grace_s` seconds for the running batches."""
        self._stopped = True
        for bucket in self._buckets.values():
            for waiting in bucket:
                _fail(waiting, EngineUnavailableError("the engine is stopping"))
        self._buckets.clear()
        self._set_timer(None)
        if self._batches:
            await asyncio.wait(list(self._batches), timeout=grace_s)

    def _forget(self, key: Hashable, waiting: _Waiting[RowT, ResultT]) -> None:
        bucket = self._buckets.get(key)
        if bucket and waiting in bucket:
            bucket.remove(waiting)
            if not bucket:
                del self._buckets[key]

    def _pump(self) -> None:
        """Start every batch that can start; otherwise wake up when the next one is due."""
        self._set_timer(None)
        now = asyncio.get_running_loop().time()
        while self._buckets and len(self._batches) < self._in_flight:
            ripe = [
                key
                for key, bucket in self._buckets.items()
                if len(bucket) >= self._max_batch_size or _due(bucket) <= now
            ]
            if not ripe:
                self._set_timer(min(_due(bucket) for bucket in self._buckets.values()))
                return
            self._start(min(ripe, key=lambda key: self._buckets[key][0].place))

    def _start(self, key: Hashable) -> None:
        rows = self._buckets[key][: self._max_batch_size]
        del self._buckets[key][: self._max_batch_size]
        if not self._buckets[key]:
            del self._buckets[key]
        self.batches += 1
        self.rows += len(rows)
        self.running += len(rows)
        batch = asyncio.create_task(self._run_batch(rows))
        self._batches.add(batch)
        batch.add_done_callback(lambda done: self._ended(done, len(rows)))

    def _ended(self, batch: asyncio.Task[None], rows: int) -> None:
        self._batches.discard(batch)
        self.running -= rows
        if not self._stopped:
            self._pump()

    async def _run_batch(self, batch: Sequence[_Waiting[RowT, ResultT]]) -> None:
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            await self._deliver(batch)
        except RetryableError as error:
            for waiting in batch:
                _fail(waiting, error)
        except Exception as error:
            if len(batch) == 1:
                _fail(batch[0], error)
                return
            log.warning("batch_failed", rows=len(batch), error=type(error).__name__)
            await self._deliver_one_by_one(batch)
        finally:
            self.busy_seconds += loop.time() - started

    async def _deliver_one_by_one(self, batch: Sequence[_Waiting[RowT, ResultT]]) -> None:
        for waiting in batch:
            if waiting.result.done():
                continue
            try:
                await self._deliver([waiting])
            except Exception as error:
                _fail(waiting, error)

    async def _deliver(self, batch: Sequence[_Waiting[RowT, ResultT]]) -> None:
        results = await self._run([waiting.row for waiting in batch])
        if len(results) != len(batch):
            raise InferenceError(f"{len(results)} results came back for {len(batch)} rows")
        for waiting, result in zip(batch, results, strict=True):
            if not waiting.result.done():
                waiting.result.set_result(Batched(result, len(batch)))

    def _set_timer(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            self._timer = asyncio.get_running_loop().call_at(due, self._pump)


def _fail(waiting: _Waiting[RowT, ResultT], error: Exception) -> None:
    if not waiting.result.done():
        waiting.result.set_exception(error)


def _due(bucket: Sequence[_Waiting[RowT, ResultT]]) -> float:
    """When the row that came first has waited long enough."""
    return min(waiting.due for waiting in bucket)
