"""Work as the queue sees it. Times are seconds since the epoch by Redis' clock."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from pydantic import Field

from models.messages import Frozen


class NewJob(Frozen):
    """A job to publish. Publishing an `id` again within the deduplication window does nothing.

    Turns of one `fairness_key` wait in one line, and the lines take turns: who brings much work waits behind
    their own.
    """

    id: str
    conversation: str
    payload: str
    trace: dict[str, str] = Field(default_factory=dict[str, str])
    fairness_key: str = ""


def log_fields(trace: Mapping[str, str]) -> dict[str, str]:
    """What a job's trace tells of the message that it began with, for the lines of whoever works on it."""
    return {
        name: trace[name] for name in ("correlation_id", "owner", "message_id") if name in trace
    }


class FailedAttempt(Frozen):
    """One attempt that didn't succeed. `counted` is False for a snooze."""

    at: float
    consumer: str
    error_type: str
    message: str
    traceback: str = ""
    counted: bool = True


class Job(NewJob):
    """A job that was taken."""

    attempts: int = 0
    crashes: int = 0
    published_at: float = 0.0
    history: tuple[FailedAttempt, ...] = ()


class Claim(Frozen):
    """The right to settle one turn: the fence is (entry, consumer, deliveries)."""

    shard: int
    conversation: str
    entry_id: str
    consumer: str
    deliveries: int
    jobs: tuple[Job, ...]
    taken_at: float
    waiting_since: float
    """When the token became ready: `taken_at - waiting_since` is the time in queue."""


class DeadReason(StrEnum):
    EXHAUSTED = "exhausted"
    PERMANENT = "permanent"
    CRASH = "crash"
    UNPROCESSABLE = "unprocessable"


class DeadLetter(Frozen):
    """A job that can't be processed, with its whole history. `id` is its position in the dead stream."""

    id: str
    queue: str
    shard: int
    reason: DeadReason
    job: Job
    dead_at: float


class Backlog(Frozen):
    """A queue's state, summed over its shards."""

    queue: str
    waiting: int
    in_flight: int
    delayed: int
    dead: int
    oldest_waiting_s: float = 0.0


class JobState(StrEnum):
    """Where a job is. `UNKNOWN` is one that the queue never saw or already forgot."""

    WAITING = "waiting"
    RUNNING = "running"
    DELAYED = "delayed"
    DEAD = "dead"
    DONE = "done"
    UNKNOWN = "unknown"
