"""What the in-memory queue keeps: mailboxes, tokens, dead letters, and how a turn moves between them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from models.errors import StaleClaimError
from models.jobs import Claim, DeadLetter, DeadReason, FailedAttempt, Job
from serve_app.settings import QueueSettings


@dataclass
class Entry:
    """A stored job. `alone`: don't share a turn, it failed before. `since`: its first snooze with a limit."""

    job: Job
    alone: bool = False
    quiet_at: float | None = None
    latest: float | None = None
    since: float | None = None


@dataclass
class Token:
    """A conversation's one token: ready, delayed until `due`, or opened by `owner`."""

    entry_id: str
    ready_at: float
    due: float | None = None
    burst: bool = False
    owner: str | None = None
    deliveries: int = 0
    seen_at: float = 0.0
    taken: int = 0


class Mailboxes:
    """`now` gives seconds since the epoch; `changed` is set when a turn becomes ready."""

    def __init__(
        self,
        *,
        name: str,
        settings: QueueSettings,
        now: Callable[[], float],
        changed: asyncio.Event,
    ) -> None:
        self._name = name
        self._settings = settings
        self._now = now
        self._changed = changed
        self._sequence = 0
        self.entries: dict[str, Entry] = {}
        self.mailboxes: dict[str, deque[str]] = {}
        self.tokens: dict[str, Token] = {}
        self.ready: deque[str] = deque()
        self.lines: dict[str, deque[str]] = {}
        self.accepted: dict[str, float] = {}
        self.dead: dict[str, DeadLetter] = {}
        self.crash_letters: list[DeadLetter] = []

    def enqueue(self, entry: Entry) -> None:
        conversation = entry.job.conversation
        self.entries[entry.job.id] = entry
        self.mailboxes.setdefault(conversation, deque()).append(entry.job.id)
        token, due = self.tokens.get(conversation), self._burst_end(conversation)
        if token is None:
            if due > self._now():
                self.park(conversation, due, burst=True)
            else:
                self.make_ready(conversation)
        elif token.burst and token.due is not None:
            token.due = max(token.due, due)

    def open(self, conversation: str, consumer: str) -> Claim:
        token, now = self.tokens[conversation], self._now()
        jobs: list[Job] = []
        for job_id in self.mailboxes[conversation]:
            entry = self.entries[job_id]
            alone = entry.alone or entry.job.attempts > 0 or entry.job.crashes > 0
            if len(jobs) == self._settings.max_turn_jobs or (alone and jobs):
                break
            jobs.append(entry.job)
            if alone:
                break
        token.owner, token.seen_at, token.taken = consumer, now, len(jobs)
        token.deliveries += 1
        return Claim(
            shard=0,
            conversation=conversation,
            entry_id=token.entry_id,
            consumer=consumer,
            deliveries=token.deliveries,
            jobs=tuple(jobs),
            taken_at=now,
            waiting_since=token.ready_at,
        )

    def next_id(self) -> str:
        self._sequence += 1
        return f"{int(self._now() * 1000)}-{self._sequence}"

    def fenced(self, claim: Claim) -> Token:
        self._now()
        token = self.tokens.get(claim.conversation)
        fence = (claim.entry_id, claim.consumer, claim.deliveries)
        if token is None or fence != (token.entry_id, token.owner, token.deliveries):
            raise StaleClaimError("STALE the turn belongs to another consumer")
        return token

    def make_ready(self, conversation: str) -> None:
        """Where others wait already, in the line of its fairness key."""
        self.tokens[conversation] = Token(self.next_id(), ready_at=self._now())
        if self.ready or self.lines:
            key = self.entries[self.mailboxes[conversation][0]].job.fairness_key
            self.lines.setdefault(key, deque()).append(conversation)
        else:
            self.ready.append(conversation)
        self._changed.set()

    def next_ready(self) -> str | None:
        """The lines take turns; one conversation always stands before them, as on Redis."""
        if not self.ready:
            self._advance()
        conversation = self.ready.popleft() if self.ready else None
        if not self.ready:
            self._advance()
        return conversation

    def waiting(self) -> list[str]:
        return [*self.ready, *(each for line in self.lines.values() for each in line)]

    def _advance(self) -> None:
        if not self.lines:
            return
        key = next(iter(self.lines))
        line = self.lines.pop(key)
        self.ready.append(line.popleft())
        if line:
            self.lines[key] = line

    def park(self, conversation: str, due: float, *, burst: bool = False) -> None:
        self.tokens[conversation] = Token("", ready_at=0.0, due=due, burst=burst)

    def _burst_end(self, conversation: str) -> float:
        mailbox, entries = self.mailboxes[conversation], self.entries
        quiet_at, latest = entries[mailbox[-1]].quiet_at, entries[mailbox[0]].latest
        return 0.0 if quiet_at is None or latest is None else min(quiet_at, latest)

    def go_on(self, conversation: str) -> None:
        if conversation not in self.mailboxes:
            del self.tokens[conversation]
        elif (due := self._burst_end(conversation)) > self._now():
            self.park(conversation, due, burst=True)
        else:
            self.make_ready(conversation)

    def remove(self, job_id: str) -> None:
        entry = self.entries.pop(job_id)
        mailbox = self.mailboxes.get(entry.job.conversation)
        if mailbox is not None and job_id in mailbox:
            mailbox.remove(job_id)
            if not mailbox:
                del self.mailboxes[entry.job.conversation]

    def forget(self, conversation: str) -> int:
        ids = self.mailboxes.pop(conversation, deque())
        for job_id in ids:
            del self.entries[job_id]
        self.tokens.pop(conversation, None)
        self.ready = deque(each for each in self.ready if each != conversation)
        for key, line in list(self.lines.items()):
            left = deque(each for each in line if each != conversation)
            if left:
                self.lines[key] = left
            else:
                del self.lines[key]
        return len(ids)

    def bury(self, job_id: str, reason: DeadReason) -> DeadLetter:
        letter = DeadLetter(
            id=self.next_id(),
            queue=self._name,
            shard=0,
            reason=reason,
            job=self.entries[job_id].job,
            dead_at=self._now(),
        )
        self.dead[letter.id] = letter
        self.remove(job_id)
        return letter

    def update(self, job_id: str, *, history: Sequence[FailedAttempt]) -> None:
        entry = self.entries[job_id]
        entry.job = entry.job.model_copy(update={"history": tuple(history)})

    def count(
        self, job_id: str, attempt: FailedAttempt, *, attempts: int = 0, crashes: int = 0
    ) -> None:
        entry = self.entries[job_id]
        entry.job = entry.job.model_copy(
            update={
                "attempts": entry.job.attempts + attempts,
                "crashes": entry.job.crashes + crashes,
                "history": (*entry.job.history, attempt)[-self._settings.max_history :],
            }
        )
