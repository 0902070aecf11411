"""An in-memory `Queue` for tests: the semantics of the one on Redis, in one process, by a given clock."""

from __future__ import annotations

import asyncio
import traceback
from random import Random

from models.errors import QueueUnavailableError
from models.jobs import (
    Backlog,
    Claim,
    DeadLetter,
    DeadReason,
    FailedAttempt,
    Job,
    JobState,
    NewJob,
)
from serve_app.clock import SystemClock
from serve_app.ports import Clock
from serve_app.settings import QueueSettings
from serve_app.testing.mailboxes import Entry, Mailboxes


class MemoryQueue:
    """Set `down` to make every call fail as if the server were away."""

    def __init__(
        self,
        *,
        name: str = "memory",
        settings: QueueSettings | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
    ) -> None:
        self._name = name
        self._settings = settings or QueueSettings()
        self._clock = clock or SystemClock()
        self._random = random or Random(0)  # noqa: S311 - jitter, not a secret
        self._changed = asyncio.Event()
        self._boxes = Mailboxes(
            name=name, settings=self._settings, now=self._now, changed=self._changed
        )
        self._retries: list[float] = []
        self.down = False

    @property
    def name(self) -> str:
        return self._name

    # --- publishing and taking -----------------------------------------------------------------

    async def publish(self, job: NewJob, *, debounce_s: float = 0.0) -> bool:
        now = self._now()
        state = self._boxes
        if job.id in state.entries or state.accepted.get(job.id, 0.0) > now:
            return False
        state.accepted[job.id] = now + self._settings.dedupe_ttl_s
        entry = Entry(
            Job(
                id=job.id,
                conversation=job.conversation,
                payload=job.payload,
                trace=dict(job.trace),
                fairness_key=job.fairness_key,
                published_at=now,
            )
        )
        if debounce_s > 0:
            entry.quiet_at = now + debounce_s
            entry.latest = now + self._settings.debounce_max_s
        self._boxes.enqueue(entry)
        return True

    async def take(self, *, consumer: str, count: int, block_s: float) -> list[Claim]:
        deadline = self._clock.monotonic() + block_s
        while True:
            claims = self._take_ready(consumer, count)
            left = deadline - self._clock.monotonic()
            if claims or left <= 0:
                return claims
            self._changed.clear()
            changed = asyncio.create_task(self._changed.wait())
            slept = asyncio.create_task(self._clock.sleep(left))
            try:
                await asyncio.wait({changed, slept}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()
                slept.cancel()

    def _take_ready(self, consumer: str, count: int) -> list[Claim]:
        self._now()
        claims: list[Claim] = []
        while len(claims) < count and (conversation := self._boxes.next_ready()) is not None:
            claims.append(self._boxes.open(conversation, consumer))
        return claims

    # --- settling ------------------------------------------------------------------------------

    async def heartbeat(self, claim: Claim) -> None:
        self._boxes.fenced(claim).seen_at = self._now()

    async def complete(self, claim: Claim) -> None:
        self._boxes.fenced(claim)
        for job in claim.jobs:
            self._boxes.remove(job.id)
        self._boxes.go_on(claim.conversation)

    async def retry(
        self, claim: Claim, error: BaseException, *, retry_after: float | None = None
    ) -> list[DeadLetter]:
        self._boxes.fenced(claim)
        attempts = max(job.attempts for job in claim.jobs)
        for job in claim.jobs:
            self._boxes.count(
                job.id, self._attempt(error, claim.consumer, counted=True), attempts=1
            )
        exhausted = attempts + 1 >= self._settings.max_attempts
        if exhausted and len(claim.jobs) == 1:
            letter = self._boxes.bury(claim.jobs[0].id, DeadReason.EXHAUSTED)
            self._boxes.go_on(claim.conversation)
            return [letter]
        ceiling = min(
            self._settings.backoff_cap_s, self._settings.backoff_base_s * 2.0 ** min(attempts, 64)
        )
        delay = max(self._random.uniform(0, ceiling), retry_after or 0.0)
        self._boxes.park(claim.conversation, self._now() + delay)
        self._retries.append(self._now())
        return []

    async def snooze(
        self, claim: Claim, *, delay_s: float, reason: str, limit_s: float | None = None
    ) -> bool:
        self._boxes.fenced(claim)
        if limit_s is not None:
            now, entries = self._now(), [self._boxes.entries[job.id] for job in claim.jobs]
            if any(e.since is not None and now - e.since > limit_s for e in entries):
                return False
            for entry in entries:
                entry.since = now if entry.since is None else entry.since
        for job in claim.jobs:
            attempt = FailedAttempt(
                at=self._now(),
                consumer=claim.consumer,
                error_type="SnoozeError",
                message=reason,
                counted=False,
            )
            history = self._boxes.entries[job.id].job.history
            if history and history[-1].error_type == "SnoozeError":
                self._boxes.update(job.id, history=history[:-1])
            self._boxes.count(job.id, attempt)
        self._boxes.park(claim.conversation, self._now() + max(delay_s, 0.0))
        return True

    async def release(self, claim: Claim) -> None:
        self._boxes.fenced(claim)
        self._boxes.make_ready(claim.conversation)

    async def dead_letter(
        self, claim: Claim, reason: DeadReason, error: BaseException
    ) -> list[DeadLetter]:
        self._boxes.fenced(claim)
        if len(claim.jobs) == 1:
            job_id = claim.jobs[0].id
            self._boxes.count(
                job_id, self._attempt(error, claim.consumer, counted=True), attempts=1
            )
            letter = self._boxes.bury(job_id, reason)
            self._boxes.go_on(claim.conversation)
            return [letter]
        for job in claim.jobs:
            self._boxes.entries[job.id].alone = True
            self._boxes.count(job.id, self._attempt(error, claim.consumer, counted=False))
        self._boxes.make_ready(claim.conversation)
        return []

    # --- what time brings ----------------------------------------------------------------------

    async def reclaim(self, *, consumer: str, count: int) -> list[Claim]:
        now, claims = self._now(), list[Claim]()
        silent = [
            (conversation, token)
            for conversation, token in self._boxes.tokens.items()
            if token.owner is not None and now - token.seen_at >= self._settings.lease_s
        ]
        for conversation, token in silent[:count]:
            lost = FailedAttempt(
                at=now,
                consumer=token.owner or "",
                error_type="ConsumerLost",
                message=f"consumer silent for {now - token.seen_at:.1f} s",
                counted=False,
            )
            ids = list(self._boxes.mailboxes[conversation])[: token.taken]
            for job_id in ids:
                self._boxes.count(job_id, lost, crashes=1)
            crashes = self._boxes.entries[ids[0]].job.crashes
            if len(ids) == 1 and crashes >= self._settings.max_crashes:
                self._boxes.crash_letters.append(self._boxes.bury(ids[0], DeadReason.CRASH))
                self._boxes.go_on(conversation)
            else:
                claims.append(self._boxes.open(conversation, consumer))
        return claims

    def pop_crash_letters(self) -> list[DeadLetter]:
        letters, self._boxes.crash_letters = self._boxes.crash_letters, []
        return letters

    async def promote(self) -> int:
        now = self._now()
        due = [
            (token.due, conversation)
            for conversation, token in self._boxes.tokens.items()
            if token.due is not None and token.due <= now
        ]
        for _, conversation in sorted(due)[:100]:
            self._boxes.make_ready(conversation)
        return min(len(due), 100)

    # --- looking -------------------------------------------------------------------------------

    async def backlog(self) -> Backlog:
        now, tokens = self._now(), self._boxes.tokens
        waiting = [tokens[conversation].ready_at for conversation in self._boxes.waiting()]
        return Backlog(
            queue=self._name,
            waiting=len(waiting),
            in_flight=sum(token.owner is not None for token in tokens.values()),
            delayed=sum(token.due is not None for token in tokens.values()),
            dead=len(self._boxes.dead),
            oldest_waiting_s=now - min(waiting, default=now),
        )

    async def retried(self, *, within_s: float) -> int:
        since = self._now() - within_s
        return sum(at >= since for at in self._retries)

    async def job_state(self, job_id: str) -> tuple[JobState, Job | None]:
        now, entry = self._now(), self._boxes.entries.get(job_id)
        if entry is not None:
            conversation = entry.job.conversation
            token = self._boxes.tokens[conversation]
            running = list(self._boxes.mailboxes[conversation])[: token.taken]
            if token.due is not None:
                return JobState.DELAYED, entry.job
            return (JobState.RUNNING if job_id in running else JobState.WAITING), entry.job
        for letter in reversed(self._boxes.dead.values()):
            if letter.job.id == job_id:
                return JobState.DEAD, letter.job
        done = self._boxes.accepted.get(job_id, 0.0) > now
        return (JobState.DONE if done else JobState.UNKNOWN), None

    # --- dead letters --------------------------------------------------------------------------

    async def bury(
        self, job: NewJob, reason: DeadReason, error: BaseException
    ) -> DeadLetter | None:
        now, state = self._now(), self._boxes
        buried = any(letter.job.id == job.id for letter in state.dead.values())
        if job.id in state.entries or buried or state.accepted.get(job.id, 0.0) > now:
            return None
        state.accepted[job.id] = now + self._settings.dedupe_ttl_s
        state.entries[job.id] = Entry(Job(**job.model_dump(), published_at=now))
        self._boxes.count(job.id, self._attempt(error, "", counted=False))
        return self._boxes.bury(job.id, reason)

    async def dead(self, *, start: str = "-", count: int = 50) -> list[DeadLetter]:
        self._now()
        letters = list(self._boxes.dead.values())
        if start != "-":
            position, exclusive = _position(start.removeprefix("(")), start.startswith("(")
            letters = [
                letter
                for letter in letters
                if _position(letter.id) > position
                or (not exclusive and _position(letter.id) == position)
            ]
        return letters[:count]

    async def dead_latest(self, *, before: str = "", count: int = 50) -> list[DeadLetter]:
        self._now()
        letters = sorted(
            self._boxes.dead.values(), key=lambda letter: _position(letter.id), reverse=True
        )
        if before:
            letters = [letter for letter in letters if _position(letter.id) < _position(before)]
        return letters[:count]

    async def dead_get(self, dead_id: str) -> DeadLetter | None:
        self._now()
        return self._boxes.dead.get(dead_id)

    async def replay(self, dead_id: str) -> bool:
        now, letter = self._now(), self._boxes.dead.pop(dead_id, None)
        if letter is None:
            return False
        if letter.job.id not in self._boxes.entries:
            self._boxes.accepted[letter.job.id] = now + self._settings.dedupe_ttl_s
            fresh = letter.job.model_copy(update={"attempts": 0, "crashes": 0, "published_at": now})
            self._boxes.enqueue(Entry(fresh, alone=True))
        return True

    async def purge(self, dead_id: str) -> bool:
        self._now()
        return self._boxes.dead.pop(dead_id, None) is not None

    # --- privacy -------------------------------------------------------------------------------

    async def mailbox(self, conversation: str) -> list[str]:
        self._now()
        ids = self._boxes.mailboxes.get(conversation, ())
        return [self._boxes.entries[job_id].job.payload for job_id in ids]

    async def forget(self, conversation: str) -> int:
        self._now()
        return self._boxes.forget(conversation)

    # --- parts ---------------------------------------------------------------------------------

    def _now(self) -> float:
        if self.down:
            raise QueueUnavailableError("the queue is down")
        return self._clock.now().timestamp()

    def _attempt(self, error: BaseException, consumer: str, *, counted: bool) -> FailedAttempt:
        limit = self._settings.max_traceback_chars
        raised = error.__traceback__ or error.__cause__
        trace = "".join(traceback.format_exception(error)) if raised else ""
        return FailedAttempt(
            at=self._now(),
            consumer=consumer,
            error_type=type(error).__name__,
            message=str(error),
            traceback=trace[-limit:] if limit else "",
            counted=counted,
        )


def _position(dead_id: str) -> tuple[int, int]:
    milliseconds, _, sequence = dead_id.partition("-")
    return int(milliseconds), int(sequence or 0)
