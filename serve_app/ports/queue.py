"""The queue of turns: mailboxes with leases, retries and dead letters."""

from __future__ import annotations

from typing import Protocol

from models.jobs import Backlog, Claim, DeadLetter, DeadReason, Job, JobState, NewJob


class Queue(Protocol):
    """Mailboxes over streams: see `docs/decisions` and `serve_app/queue`.

    Settling methods raise `StaleClaimError` when the claim's fence no longer holds, and every method
    raises `QueueUnavailableError` when the server can't be reached in time or refuses writes.
    """

    @property
    def name(self) -> str: ...

    async def publish(self, job: NewJob, *, debounce_s: float = 0.0) -> bool:
        """Store a job durably. Returns False if its id was published before (nothing is done then).

        `debounce_s` > 0 delays the conversation's turn so that a burst becomes one turn; each further
        message extends the delay, up to the queue's configured maximum.
        """
        ...

    async def take(self, *, consumer: str, count: int, block_s: float) -> list[Claim]:
        """Claim up to `count` turns, waiting up to `block_s` seconds for the first."""
        ...

    async def heartbeat(self, claim: Claim) -> None:
        """Show that the turn is alive; due every third of the lease."""
        ...

    async def complete(self, claim: Claim) -> None:
        """Forget the claim's jobs; the conversation's next turn follows if more arrived."""
        ...

    async def retry(
        self, claim: Claim, error: BaseException, *, retry_after: float | None = None
    ) -> list[DeadLetter]:
        """Count a failed attempt and try again later; returns the jobs whose attempts are exhausted
        and which went to the dead letters instead."""
        ...

    async def snooze(
        self, claim: Claim, *, delay_s: float, reason: str, limit_s: float | None = None
    ) -> bool:
        """Try again later without counting an attempt. With a limit, False and nothing done if the first
        such snooze of one of the jobs was longer ago."""
        ...

    async def release(self, claim: Claim) -> None:
        """Hand the turn back at once, uncounted, for another consumer (draining)."""
        ...

    async def dead_letter(
        self, claim: Claim, reason: DeadReason, error: BaseException
    ) -> list[DeadLetter]:
        """Give up on the claim's jobs. With more than one job in the turn, none is buried: the turn is
        repeated one job at a time, so that a bad message doesn't take its neighbours along."""
        ...

    async def bury(
        self, job: NewJob, reason: DeadReason, error: BaseException
    ) -> DeadLetter | None:
        """Write a dead letter for something that never became a job. Idempotent on the job's id."""
        ...

    async def reclaim(self, *, consumer: str, count: int) -> list[Claim]:
        """Take over turns whose consumer has been silent for a lease. Jobs that crashed their consumers
        too often are dead-lettered on the way: `pop_crash_letters` hands those over."""
        ...

    def pop_crash_letters(self) -> list[DeadLetter]:
        """The letters that this object's `reclaim` wrote since the last call, each once."""
        ...

    async def promote(self) -> int:
        """Make due delayed turns ready; returns how many."""
        ...

    async def backlog(self) -> Backlog: ...

    async def retried(self, *, within_s: float) -> int:
        """Turns that failed and were put off to be tried again, counted by the minute, for a day."""
        ...

    async def job_state(self, job_id: str) -> tuple[JobState, Job | None]: ...

    async def dead(self, *, start: str = "-", count: int = 50) -> list[DeadLetter]:
        """Dead letters, oldest first, from stream position `start`; pass `"(" + id` for the next page."""
        ...

    async def dead_latest(self, *, before: str = "", count: int = 50) -> list[DeadLetter]:
        """Dead letters, newest first; those before the one with the id `before` for the next page."""
        ...

    async def dead_get(self, dead_id: str) -> DeadLetter | None: ...

    async def replay(self, dead_id: str) -> bool:
        """Publish a dead letter's job anew, its history kept, its attempts at zero."""
        ...

    async def purge(self, dead_id: str) -> bool: ...

    async def mailbox(self, conversation: str) -> list[str]:
        """The payloads of a conversation's jobs that wait or run, oldest first."""
        ...

    async def forget(self, conversation: str) -> int:
        """Drop a conversation's jobs; returns how many. A turn that runs loses its claim. Dead letters
        stay: `purge` them."""
        ...
