"""Puts a stored reply on the outbound queue again."""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from models.conversations import Reply
from models.jobs import JobState, NewJob
from serve_app.ports import Queue

log = structlog.get_logger(__name__)

MOST_REPEATS = 50
"""Jobs of one reply after which something other than forgetting is wrong."""

FORGOTTEN = frozenset({JobState.DONE})
"""Jobs that will do nothing more for their reply."""
PAST = frozenset({JobState.DONE, JobState.DEAD, JobState.RUNNING})
"""Jobs that may have looked at their reply before a person changed it."""


class ReplyPublisher:
    """`reply_job` makes a reply's job; its second argument is put behind the job's id."""

    def __init__(self, *, outbound: Queue, reply_job: Callable[[Reply, str], NewJob]) -> None:
        self._outbound = outbound
        self._reply_job = reply_job

    async def publish(self, reply: Reply, *, past: Collection[JobState] = FORGOTTEN) -> JobState:
        """Publish under the first id that the queue doesn't know, so that its deduplication lets the job
        pass, unless an earlier job is still to come: one in none of the `past` states. Returns that job's
        state, `UNKNOWN` if a new one was published. The reply's own state keeps it from being sent twice.
        """
        for repeat in range(MOST_REPEATS):
            job = self._reply_job(reply, f":{repeat}" if repeat else "")
            state, _ = await self._outbound.job_state(job.id)
            if state is JobState.UNKNOWN:
                new = await self._outbound.publish(job)
                # Somebody else was quicker.
                return JobState.UNKNOWN if new else JobState.WAITING
            if state not in past:
                return state
        log.error("reply_published_too_often", reply_id=reply.id, jobs=MOST_REPEATS)
        return JobState.DONE
