"""Who may be inside an engine: the limit, the time-out, cancellation by id, and the counters.

Every engine runs its requests through one `Admission`, so that overload, a cancelled request and a
stopping engine look the same to callers whatever the model behind it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from models.errors import EngineUnavailableError, InferenceError, RecadoError

T = TypeVar("T")

OVERLOAD_RETRY_S = 1.0
"""`retry_after` of a refusal for overload."""


class Admission:
    """Admits at most `limit` requests at a time, waiting ones included; each may take `timeout_s`."""

    def __init__(self, *, engine: str, limit: int, timeout_s: float) -> None:
        self._engine = engine
        self._limit = limit
        self._timeout_s = timeout_s
        self._open = False
        self._inside: dict[asyncio.Task[Any], str] = {}
        self._evicted: dict[asyncio.Task[Any], str] = {}
        self.requests = 0
        """Admitted since the start."""
        self.failures = 0
        """Admitted requests that ended with an error; cancelled ones don't count."""

    @property
    def inside(self) -> int:
        return len(self._inside)

    def open(self) -> None:
        self._open = True

    async def run(self, request_id: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run `work` unless the engine is full or stopped.

        Raises `EngineUnavailableError` when refused, cancelled by id, stopped or timed out. What `work`
        raises outside the project's error tree becomes an `InferenceError`.
        """
        if not self._open:
            raise EngineUnavailableError(
                f"{self._engine} is not running", retry_after=OVERLOAD_RETRY_S
            )
        if len(self._inside) >= self._limit:
            raise EngineUnavailableError(
                f"{self._engine} is full: {len(self._inside)} requests are inside",
                retry_after=OVERLOAD_RETRY_S,
            )
        self.requests += 1
        task = asyncio.create_task(work())
        self._inside[task] = request_id
        try:
            return await self._finish(task)
        except RecadoError:
            self.failures += task not in self._evicted
            raise
        finally:
            self._inside.pop(task, None)
            self._evicted.pop(task, None)

    async def _finish(self, task: asyncio.Task[T]) -> T:
        limit = asyncio.timeout(self._timeout_s)
        try:
            async with limit:
                return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if task in self._evicted and not (caller and caller.cancelling()):
                raise EngineUnavailableError(self._evicted[task]) from None
            raise
        except RecadoError:
            raise
        except TimeoutError as error:
            if limit.expired():
                raise EngineUnavailableError(
                    f"{self._engine} gave no result within {self._timeout_s:g} s"
                ) from error
            raise InferenceError(f"{self._engine} failed: {error}") from error
        except Exception as error:
            raise InferenceError(
                f"{self._engine} failed: {type(error).__name__}: {error}"
            ) from error

    def cancel(self, request_id: str) -> None:
        """End a request's work wherever it stands; unknown ids are ignored."""
        for task, inside_id in self._inside.items():
            if inside_id == request_id:
                self._evict(task, f"request {request_id} was cancelled")

    def close(self) -> None:
        """Admit nobody any more; those inside go on."""
        self._open = False

    async def drain(self, *, grace_s: float) -> None:
        """Wait for those inside, then end whoever is left after `grace_s` seconds."""
        self.close()
        if self._inside:
            await asyncio.wait(list(self._inside), timeout=grace_s)
        left = list(self._inside)
        for task in left:
            self._evict(task, f"{self._engine} has stopped")
        if left:
            await asyncio.wait(left, timeout=grace_s)

    def _evict(self, task: asyncio.Task[Any], reason: str) -> None:
        if not task.done():
            self._evicted[task] = reason
            task.cancel()
