"""Runs the registered handlers for the queue's consumer."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import structlog

from deployments.tasks.config import RedisStreamsAdapterConfig
from deployments.tasks.loop_thread import LoopThread
from deployments.tasks.messages import Status, TaskCall, encode_result
from models.errors import QueueUnavailableError, RetryableError, UnprocessableError
from models.jobs import Claim, DeadLetter, Job
from serve_app.queue.task_queue import TaskQueue

log = structlog.get_logger(__name__)

Handler = Callable[..., Any]


class TaskExecutor:
    """A `TurnHandler`. Async handlers share one event loop in a thread of their own, sync ones a pool of
    `concurrency` threads: whatever they do, the consumer's own loop keeps their leases."""

    def __init__(
        self, *, queue: TaskQueue, config: RedisStreamsAdapterConfig, concurrency: int
    ) -> None:
        self._queue = queue
        self._config = config
        self._handlers: dict[str, Handler] = {}
        self._loop = LoopThread("task-handlers")
        self._concurrency = concurrency
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[str, asyncio.Future[Any]] = {}
        self._revoked: set[str] = set()
        self.counts: Counter[str] = Counter()

    def register(self, handler: Handler, name: str) -> None:
        """Raises ValueError if another handler has that name."""
        if self._handlers.get(name, handler) != handler:
            raise ValueError(f"two handlers for task '{name}': give one of them another name")
        self._handlers[name] = handler

    def start(self) -> None:
        self._pool = self._pool or ThreadPoolExecutor(self._concurrency, thread_name_prefix="task")

    async def handle(self, claim: Claim) -> None:
        job = claim.jobs[0]  # the queue's max_turn_jobs is 1
        call = TaskCall.decode(job.payload)
        handler = self._handlers.get(call.task)
        if handler is None:
            known = ", ".join(sorted(self._handlers)) or "none"
            raise UnprocessableError(f"no handler for task '{call.task}', only: {known}")
        # On a first delivery the flag can't be older than the turn, and `watch` sees it.
        repeated = claim.deliveries > 1 or job.attempts or job.crashes
        if repeated and await self._queue.cancelled([job.id]):
            await self._store(job, Status.REVOKED)
            return
        await self._execute(job, partial(handler, *call.args, **call.kwargs), handler)

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        for letter in letters:
            self.counts["dead"] += 1
            log.error(
                "task_dead", task_id=letter.job.id, reason=letter.reason.value, letter=letter.id
            )

    async def watch(self) -> None:
        """Stops running tasks that were cancelled; survives the queue's absence."""
        while True:
            await asyncio.sleep(self._config.cancel_poll_s)
            try:
                flagged = await self._queue.cancelled(list(self._running))
            except QueueUnavailableError:
                continue
            for job_id in flagged & self._running.keys():
                self._revoked.add(job_id)
                self._running[job_id].cancel()

    def stop(self) -> None:
        """Threads that a handler doesn't leave are left to end with the process."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
        self._loop.stop()

    async def _execute(self, job: Job, call: Callable[[], Any], handler: Handler) -> None:
        if self._pool is None:
            raise RetryableError("the task consumer is stopping")
        if inspect.iscoroutinefunction(handler):
            submitted: Future[Any] = self._loop.submit(call())
        else:
            submitted = self._pool.submit(call)
        future = asyncio.wrap_future(submitted)
        self._running[job.id] = future
        try:
            result = await future
        except asyncio.CancelledError:
            if job.id not in self._revoked:
                raise
            self.counts["revoked"] += 1
            await self._store(job, Status.REVOKED)
            return
        except BaseException:
            self.counts["failed"] += 1
            raise
        finally:
            self._running.pop(job.id, None)
            self._revoked.discard(job.id)
        self.counts["succeeded"] += 1
        if self._config.store_results:
            await self._store(job, Status.SUCCESS, result)

    async def _store(self, job: Job, status: str, result: Any = None) -> None:
        """The work is done: whatever keeps its result from being stored must not repeat it."""
        try:
            text = encode_result(status, result)
        except (TypeError, ValueError) as error:
            log.warning("task_result_not_kept", task_id=job.id, why=f"not JSON: {error}")
            text = encode_result(status)
        if len(text) > self._config.max_result_bytes:
            log.warning("task_result_not_kept", task_id=job.id, why="too large", size=len(text))
            text = encode_result(status)
        try:
            await self._queue.store_result(job.id, text)
        except QueueUnavailableError as away:
            log.warning("task_result_not_kept", task_id=job.id, why=str(away))
