"""`TaskProcessorAdapter` of Ray Serve on our queue."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from threading import Event
from typing import Any, TypeVar

import structlog
from ray.serve.schema import TaskProcessorAdapter, TaskProcessorConfig, TaskResult

from deployments.tasks.config import RedisStreamsAdapterConfig
from deployments.tasks.executor import Handler, TaskExecutor
from deployments.tasks.loop_thread import LoopThread
from deployments.tasks.messages import Status, TaskCall, decode_result, encode_result
from models.errors import PermanentError, QueueUnavailableError
from models.jobs import DeadLetter, JobState, NewJob
from serve_app.queue.connection import connect, ping
from serve_app.queue.consumer import Consumer
from serve_app.queue.task_queue import TaskQueue
from serve_app.tasks import end_tasks

log = structlog.get_logger(__name__)

T = TypeVar("T")

DEFAULT_CONCURRENCY = 5
"""As Serve's default of `max_ongoing_requests`, which it passes for each replica."""
BLOCK_S = 1.0
"""How long a read of an empty queue waits; a stop takes as long."""
HAND_BACK_S = 3.0
OPTIONS = ("task_id", "ordering_key", "countdown")


class RedisStreamsTaskProcessorAdapter(TaskProcessorAdapter):
    """Every method may be called from any thread and any event loop: the connection lives on a loop of the
    adapter's own. Raises `QueueUnavailableError` when Redis gives no answer in time."""

    def __init__(self, config: TaskProcessorConfig, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(config.adapter_config, RedisStreamsAdapterConfig):
            raise TypeError("adapter_config must be a RedisStreamsAdapterConfig")
        self._task_config = config
        self._config: RedisStreamsAdapterConfig = config.adapter_config
        self._concurrency = DEFAULT_CONCURRENCY
        self._loop = LoopThread("task-queue")
        self._consuming: Future[None] | None = None
        self._consumer: Consumer | None = None
        self._ended = Event()

    def initialize(self, consumer_concurrency: int = DEFAULT_CONCURRENCY) -> None:
        """Connects to nothing yet. Raises `PermanentError` if no server is named."""
        self._concurrency = consumer_concurrency
        settings = self._config.queue_settings(max_retries=self._task_config.max_retries)
        self._redis = connect(self._config.url(), settings)
        self._queue = TaskQueue(
            redis=self._redis,
            name=self._task_config.queue_name,
            settings=settings,
            failed_stream=self._task_config.failed_task_queue_name,
            unprocessable_stream=self._task_config.unprocessable_task_queue_name,
            result_ttl_s=self._config.result_ttl_s,
        )
        self._executor = TaskExecutor(
            queue=self._queue, config=self._config, concurrency=consumer_concurrency
        )

    # --- consuming -----------------------------------------------------------------------------

    def register_task_handle(self, func: Handler, name: str | None = None) -> None:
        self._executor.register(func, name or func.__name__)

    def start_consumer(self, **kwargs: Any) -> None:
        """Doesn't wait for Redis: the consumer does, and begins as soon as it is there."""
        if self._consuming is not None and not self._consuming.done():
            return
        self._consumer = Consumer(
            queue=self._queue,
            handler=self._executor,
            consumer_id=f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}",
            concurrency=self._concurrency,
            lease_s=self._config.lease_s,
            turn_timeout_s=self._config.task_timeout_s,
            block_s=BLOCK_S,
            scan_interval_s=min(1.0, self._config.lease_s / 3),
            promote_interval_s=0.2,
            drain_s=self._config.drain_s,
        )
        self._executor.start()
        self._ended, begun = Event(), Event()
        self._consuming = self._loop.submit(
            self._consume(self._consumer, begun=begun, ended=self._ended)
        )
        begun.wait(self._config.call_timeout_s)

    def stop_consumer(self, timeout: float = 10.0) -> None:
        """Lets running tasks finish for `drain_s`, at most `timeout`, and hands the rest back."""
        consuming, consumer = self._consuming, self._consumer
        self._consuming = self._consumer = None
        if consuming is None or consumer is None:
            return
        self._loop.submit(consumer.drain())
        try:
            consuming.result(timeout)
        except TimeoutError:
            log.warning("consumer_stopped_short", timeout_s=timeout)
            consuming.cancel()
            self._ended.wait(HAND_BACK_S)
        except Exception:
            log.exception("consumer_ended_with_an_error")
        self._executor.stop()

    def close(self) -> None:
        """Stop, and close the connection: the adapter is of no use afterwards."""
        self.stop_consumer()
        self._executor.stop()
        self._call(self._redis.aclose())
        self._loop.stop()

    def check(self) -> None:
        """Raises RuntimeError unless the consumer is running; for a deployment's `check_health`."""
        if self._consuming is None or self._consuming.done():
            raise RuntimeError("the task consumer isn't running")
        if self._consumer is None or not self._consumer.healthy:
            raise RuntimeError("a loop of the task consumer has ended")

    async def _consume(self, consumer: Consumer, *, begun: Event, ended: Event) -> None:
        watching = asyncio.create_task(self._executor.watch())
        running = asyncio.create_task(consumer.run())
        await asyncio.sleep(0)
        begun.set()
        try:
            await running
        finally:
            await end_tasks([watching, running])
            ended.set()

    # --- enqueueing ----------------------------------------------------------------------------

    def enqueue_task_sync(
        self,
        task_name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> TaskResult:
        """Options: `task_id`, enqueued once however often it is tried; `ordering_key`, whose tasks run in
        order and one at a time; `countdown`, seconds to wait first. Raises `PermanentError` for anything
        that can't be enqueued."""
        return self._call(self._enqueue(task_name, args, kwargs, options))

    async def enqueue_task_async(
        self,
        task_name: str,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> TaskResult:
        """See `enqueue_task_sync`."""
        return await self._awaited(self._enqueue(task_name, args, kwargs, options))

    async def _enqueue(
        self,
        task_name: str,
        args: Sequence[Any] | None,
        kwargs: Mapping[str, Any] | None,
        options: Mapping[str, Any],
    ) -> TaskResult:
        unknown = set(options) - set(OPTIONS)
        if unknown:
            raise PermanentError(
                f"unknown option {', '.join(sorted(unknown))}: there are {', '.join(OPTIONS)}"
            )
        task_id = str(options.get("task_id") or secrets.token_hex(16))
        countdown = float(options.get("countdown") or 0.0)
        if not 0 <= countdown <= self._config.max_countdown_s:
            raise PermanentError(f"countdown must be 0 to {self._config.max_countdown_s:g} s")
        if countdown and options.get("ordering_key"):
            raise PermanentError(
                "countdown and ordering_key don't go together: each moves the other"
            )
        payload = TaskCall(task_name, list(args or ()), dict(kwargs or {})).encode()
        conversation = str(options.get("ordering_key") or task_id)
        await self._queue.publish(
            NewJob(id=task_id, conversation=conversation, payload=payload), debounce_s=countdown
        )
        return TaskResult(id=task_id, status=Status.PENDING, created_at=time.time(), result=None)

    # --- looking and cancelling ----------------------------------------------------------------

    def get_task_status_sync(self, task_id: str) -> TaskResult:
        return self._call(self._status(task_id))

    async def get_task_status_async(self, task_id: str) -> TaskResult:
        return await self._awaited(self._status(task_id))

    async def _status(self, task_id: str) -> TaskResult:
        # In this order: a result is stored before its task is done.
        state, job = await self._queue.job_state(task_id)
        stored = await self._queue.result(task_id)
        if stored is not None:
            status, result = decode_result(stored)
            return TaskResult(id=task_id, status=status, result=result)
        match state:
            case JobState.WAITING:
                status = Status.PENDING
            case JobState.RUNNING:
                status = Status.STARTED
            case JobState.DELAYED:
                status = Status.RETRY if job and job.attempts else Status.PENDING
            case JobState.DEAD:
                status = Status.FAILURE
            case JobState.DONE:
                status = Status.SUCCESS  # its result isn't kept, or not any more
            case JobState.UNKNOWN:
                status = Status.UNKNOWN
        last = job.history[-1] if job and job.history else None
        return TaskResult(
            id=task_id,
            status=status,
            created_at=job.published_at if job else None,
            result=f"{last.error_type}: {last.message}" if last else None,
        )

    def cancel_task_sync(self, task_id: str) -> None:
        """A waiting task is forgotten at once; a running one is told within `cancel_poll_s`. An async handler
        is cancelled then; a sync one runs on, and what it returns is dropped. Its status becomes REVOKED; a
        task that is done or unknown stays what it is."""
        self._call(self._cancel(task_id))

    async def cancel_task_async(self, task_id: str) -> None:
        """See `cancel_task_sync`."""
        await self._awaited(self._cancel(task_id))

    async def _cancel(self, task_id: str) -> None:
        if await self._queue.cancel(task_id) is JobState.WAITING:
            await self._queue.store_result(task_id, encode_result(Status.REVOKED))

    def get_metrics_sync(self) -> dict[str, Any]:
        """The queue's backlog, and what this adapter's consumer has done."""
        return self._call(self._metrics())

    async def get_metrics_async(self) -> dict[str, Any]:
        return await self._awaited(self._metrics())

    async def _metrics(self) -> dict[str, Any]:
        backlog = await self._queue.backlog()
        rejected = await self._queue.unprocessable.backlog()
        shared = self._task_config.failed_task_queue_name == self._unprocessable
        return {
            **backlog.model_dump(exclude={"dead"}),
            "failed": backlog.dead,
            "unprocessable": 0 if shared else rejected.dead,
            "running_here": self._consumer.in_flight if self._consumer else 0,
            "done_here": dict(self._executor.counts),
        }

    @property
    def _unprocessable(self) -> str | None:
        return self._task_config.unprocessable_task_queue_name

    async def backlog(self) -> int:
        """Tasks that are waiting or running; not those whose retry or countdown isn't due."""
        backlog = await self._awaited(self._queue.backlog())
        return backlog.waiting + backlog.in_flight

    def health_check_sync(self) -> list[dict[str, Any]]:
        """One row a component; `ok` says why it isn't."""
        return self._call(self._health())

    async def health_check_async(self) -> list[dict[str, Any]]:
        return await self._awaited(self._health())

    async def _health(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        try:
            await ping(self._redis)
            rows.append({"redis": {"ok": "pong"}})
        except QueueUnavailableError as away:
            rows.append({"redis": {"error": str(away)}})
        if self._consuming is not None:
            try:
                self.check()
                rows.append({"consumer": {"ok": "running"}})
            except RuntimeError as error:
                rows.append({"consumer": {"error": str(error)}})
        return rows

    # --- dead letters --------------------------------------------------------------------------

    def failed_tasks(self, *, count: int = 50) -> list[DeadLetter]:
        """Oldest first, each with every attempt's error and traceback."""
        return self._call(self._queue.dead(count=count))

    def unprocessable_tasks(self, *, count: int = 50) -> list[DeadLetter]:
        return self._call(self._queue.unprocessable.dead(count=count))

    def replay(self, letter_id: str) -> bool:
        """Enqueue a failed or unprocessable task anew, attempts at zero. False if there is no such letter."""
        return self._call(self._replay(letter_id))

    async def _replay(self, letter_id: str) -> bool:
        return await self._queue.replay(letter_id) or await self._queue.unprocessable.replay(
            letter_id
        )

    # --- between threads -----------------------------------------------------------------------

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        limit_s = self._config.call_timeout_s
        try:
            return self._loop.call(coroutine, timeout_s=limit_s)
        except TimeoutError as error:
            raise QueueUnavailableError(f"no answer within {limit_s:g} s") from error

    async def _awaited(self, coroutine: Coroutine[Any, Any, T]) -> T:
        limit_s = self._config.call_timeout_s
        try:
            async with asyncio.timeout(limit_s):
                return await asyncio.wrap_future(self._loop.submit(coroutine))
        except TimeoutError as error:
            raise QueueUnavailableError(f"no answer within {limit_s:g} s") from error
