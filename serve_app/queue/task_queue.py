"""A queue of independent tasks: results, cancelling, and dead letters in streams of the user's naming.

The messages of conversations need none of this; `deployments/tasks` does.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from redis.asyncio import Redis

from models.errors import UnprocessableError
from models.jobs import Claim, DeadLetter, DeadReason, Job, JobState
from serve_app.queue.connection import bounded
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings


class TaskQueue(QueueService):
    """`unprocessable` are the letters of tasks that nobody here can read or handle; `failed`, or None for
    the queue's own dead stream, of all others. Both are written in the script that settles the task."""

    def __init__(
        self,
        *,
        redis: Redis,
        name: str,
        settings: QueueSettings,
        failed_stream: str | None = None,
        unprocessable_stream: str | None = None,
        result_ttl_s: float,
    ) -> None:
        super().__init__(redis=redis, name=name, settings=settings, dead_stream=failed_stream)
        self._rejects = QueueService(
            redis=redis, name=name, settings=settings, dead_stream=unprocessable_stream
        )
        self._redis = redis
        self._limit_s = settings.command_timeout_s
        self._result_ttl_ms = max(1, round(result_ttl_s * 1000))
        self._result_prefix = f"{settings.prefix}:{{{name}}}:result:"
        self._cancel_prefix = f"{settings.prefix}:{{{name}}}:cancel:"

    @property
    def unprocessable(self) -> QueueService:
        """The same queue, looked at through its stream of unprocessable letters."""
        return self._rejects

    async def dead_letter(
        self, claim: Claim, reason: DeadReason, error: BaseException
    ) -> list[DeadLetter]:
        if isinstance(error, UnprocessableError):
            return await self._rejects.dead_letter(claim, DeadReason.UNPROCESSABLE, error)
        return await super().dead_letter(claim, reason, error)

    async def job_state(self, job_id: str) -> tuple[JobState, Job | None]:
        found = await super().job_state(job_id)
        if found[0] in {JobState.DONE, JobState.UNKNOWN}:
            rejected = await self._rejects.job_state(job_id)
            if rejected[0] is JobState.DEAD:
                return rejected
        return found

    async def cancel(self, job_id: str) -> JobState:
        """Where the job was: a waiting one is forgotten, a running one flagged for whoever runs it."""
        for keys in self._shards:
            state = JobState(await self._scripts.run("cancel", keys, job_id))
            if state is JobState.RUNNING:
                await self._command(
                    "SET", self._cancel_prefix + job_id, "1", "PX", self._result_ttl_ms
                )
            if state is not JobState.UNKNOWN:
                return state
        return JobState.UNKNOWN

    async def cancelled(self, job_ids: Collection[str]) -> set[str]:
        """Those of the running jobs that were flagged."""
        if not job_ids:
            return set()
        ids = list(job_ids)
        flags = await self._command("MGET", *(self._cancel_prefix + job_id for job_id in ids))
        return {job_id for job_id, flag in zip(ids, flags, strict=True) if flag}

    async def store_result(self, job_id: str, result: str) -> None:
        await self._command("SET", self._result_prefix + job_id, result, "PX", self._result_ttl_ms)

    async def result(self, job_id: str) -> str | None:
        return await self._command("GET", self._result_prefix + job_id)

    async def _command(self, *command: str | int) -> Any:
        return await bounded(self._redis, *command, limit_s=self._limit_s)
