"""`QueueService`: the Queue port on Redis streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Any

from redis.asyncio import Redis

from models.errors import QueueUnavailableError
from models.jobs import Backlog, Claim, DeadLetter, DeadReason, Job, JobState, NewJob
from serve_app.queue.dead_letters import DeadLetterStore
from serve_app.queue.keys import ShardKeys, shard_of
from serve_app.queue.retry_policy import retry_delay
from serve_app.queue.rows import claim_from, error_note, job_from, letter_from, note
from serve_app.queue.scripts import ScriptRunner
from serve_app.settings import QueueSettings

PROMOTE_AT_MOST = 100
"""Tokens that one script call makes ready, so that no call holds the server up."""
TIDY_EVERY_S = 60.0
FORGET_CONSUMERS_AFTER_S = 600.0


class QueueService:
    """One queue. `redis` comes from `connect`; the caller closes it.

    Holds no state that matters: any process can settle, reclaim or inspect what another published.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        name: str,
        settings: QueueSettings,
        random: Random | None = None,
        dead_stream: str | None = None,
    ) -> None:
        self._name = name
        self._settings = settings
        self._random = random or SystemRandom()
        self._scripts = ScriptRunner(redis=redis, timeout_s=settings.command_timeout_s)
        self._shards = [
            ShardKeys.of(prefix=settings.prefix, name=name, shard=shard, dead_stream=dead_stream)
            for shard in range(settings.shards)
        ]
        self._letters = DeadLetterStore(
            name=name, settings=settings, scripts=self._scripts, shards=self._shards
        )
        self._crash_letters: list[DeadLetter] = []
        self._next_shard = 0
        self._next_tidy = 0.0

    @property
    def name(self) -> str:
        return self._name

    # --- publishing and taking -----------------------------------------------------------------

    async def publish(self, job: NewJob, *, debounce_s: float = 0.0) -> bool:
        accepted = await self._scripts.run(
            "publish",
            self._keys_of(job.conversation),
            job.id,
            job.conversation,
            job.payload,
            json.dumps(job.trace) if job.trace else "{}",
            _ms(self._settings.dedupe_ttl_s),
            _ms(debounce_s),
            _ms(max(self._settings.debounce_max_s, 0.0)),
            job.fairness_key,
        )
        return bool(accepted)

    async def take(self, *, consumer: str, count: int, block_s: float) -> list[Claim]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + block_s
        claims = await self._take_ready(consumer=consumer, count=count)
        while not claims and (left := deadline - loop.time()) > 0:
            claims = await self._take_next(consumer=consumer, count=count, wait_s=left)
        return claims

    async def _take_ready(self, *, consumer: str, count: int) -> list[Claim]:
        """What is ready now, from every shard in turn so that none starves."""
        claims: list[Claim] = []
        shards = len(self._shards)
        first, self._next_shard = self._next_shard, (self._next_shard + 1) % shards
        for step in range(shards):
            if len(claims) >= count:
                break
            shard = (first + step) % shards
            try:
                claims += await self._open(shard, consumer, count - len(claims))
            except QueueUnavailableError:
                if not claims:
                    raise
                # They are ours: lost here they would wait for a lease, and count a crash.
                break
        return claims

    async def _take_next(self, *, consumer: str, count: int, wait_s: float) -> list[Claim]:
        """Wait on one shard: half a command's time limit, so that a server that hangs is noticed; with
        several shards a slice that lets each have its turn four times a second."""
        shards = len(self._shards)
        slice_s = min(wait_s, self._settings.command_timeout_s / 2)
        if shards > 1:
            slice_s = min(slice_s, 0.25 / shards)
        shard, self._next_shard = self._next_shard, (self._next_shard + 1) % shards
        entries = await self._scripts.read_new(
            self._shards[shard], consumer=consumer, count=count, block_ms=max(1, _ms(slice_s))
        )
        return await self._open(shard, consumer, count, entries) if entries else []

    async def _open(
        self, shard: int, consumer: str, count: int, entries: Sequence[str] = ()
    ) -> list[Claim]:
        now, *rows = await self._scripts.run(
            "take", self._shards[shard], consumer, self._settings.max_turn_jobs, count, *entries
        )
        return [claim_from(row, shard=shard, consumer=consumer, taken_ms=now) for row in rows]

    # --- settling ------------------------------------------------------------------------------

    async def heartbeat(self, claim: Claim) -> None:
        await self._scripts.run("heartbeat", *self._fence(claim))

    async def complete(self, claim: Claim) -> None:
        await self._scripts.run(
            "complete", *self._fence(claim), claim.conversation, *(job.id for job in claim.jobs)
        )

    async def retry(
        self, claim: Claim, error: BaseException, *, retry_after: float | None = None
    ) -> list[DeadLetter]:
        delay = retry_delay(
            max((job.attempts for job in claim.jobs), default=0),
            base_s=self._settings.backoff_base_s,
            cap_s=self._settings.backoff_cap_s,
            random=self._random,
            retry_after=retry_after,
        )
        rows = await self._scripts.run(
            "retry",
            *self._fence(claim),
            claim.conversation,
            _ms(delay),
            self._note(error, claim.consumer, counted=True),
            self._settings.max_attempts,
            self._settings.max_history,
            *(job.id for job in claim.jobs),
        )
        return self._letters_from(rows, claim.shard)

    async def snooze(
        self, claim: Claim, *, delay_s: float, reason: str, limit_s: float | None = None
    ) -> bool:
        entry = note(
            consumer=claim.consumer,
            error_type="SnoozeError",
            message=reason,
            trace="",
            counted=False,
        )
        snoozed = await self._scripts.run(
            "snooze",
            *self._fence(claim),
            claim.conversation,
            _ms(max(delay_s, 0.0)),
            entry,
            self._settings.max_history,
            "" if limit_s is None else _ms(limit_s),
            *(job.id for job in claim.jobs),
        )
        return bool(snoozed)

    async def release(self, claim: Claim) -> None:
        await self._scripts.run("release", *self._fence(claim), claim.conversation)

    async def dead_letter(
        self, claim: Claim, reason: DeadReason, error: BaseException
    ) -> list[DeadLetter]:
        rows = await self._scripts.run(
            "dead_letter",
            *self._fence(claim),
            claim.conversation,
            reason.value,
            self._note(error, claim.consumer, counted=len(claim.jobs) == 1),
            self._settings.max_history,
            *(job.id for job in claim.jobs),
        )
        return self._letters_from(rows, claim.shard)

    # --- what time brings ----------------------------------------------------------------------

    async def reclaim(self, *, consumer: str, count: int) -> list[Claim]:
        # Before anything is taken over: what fails then takes no claims along.
        await self._tidy()
        claims: list[Claim] = []
        for shard in range(len(self._shards)):
            if len(claims) >= count:
                break
            try:
                claims += await self._take_over(shard, consumer, count - len(claims))
            except QueueUnavailableError:
                if not claims:
                    raise
                break
        return claims

    async def _take_over(self, shard: int, consumer: str, count: int) -> list[Claim]:
        now, turns, letters = await self._scripts.run(
            "reclaim",
            self._shards[shard],
            consumer,
            _ms(self._settings.lease_s),
            count,
            self._settings.max_turn_jobs,
            self._settings.max_crashes,
            self._settings.max_history,
        )
        self._crash_letters += self._letters_from(letters, shard)
        return [claim_from(row, shard=shard, consumer=consumer, taken_ms=now) for row in turns]

    def pop_crash_letters(self) -> list[DeadLetter]:
        letters, self._crash_letters = self._crash_letters, []
        return letters

    async def promote(self) -> int:
        promoted = 0
        for keys in self._shards:
            promoted += int(await self._scripts.run("promote", keys, PROMOTE_AT_MOST))
        return promoted

    async def _tidy(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next_tidy:
            return
        self._next_tidy = now + TIDY_EVERY_S
        idle_s = max(FORGET_CONSUMERS_AFTER_S, 10 * self._settings.lease_s)
        for keys in self._shards:
            await self._scripts.run("tidy", keys, _ms(idle_s))

    # --- looking -------------------------------------------------------------------------------

    async def backlog(self) -> Backlog:
        rows = [await self._scripts.run("backlog", keys) for keys in self._shards]
        waiting, in_flight, delayed, dead, ages = zip(*rows, strict=True)
        return Backlog(
            queue=self._name,
            waiting=sum(waiting),
            in_flight=sum(in_flight),
            delayed=sum(delayed),
            dead=sum(dead),
            oldest_waiting_s=max(ages) / 1000,
        )

    async def retried(self, *, within_s: float) -> int:
        counts = [
            await self._scripts.run("retried", keys, round(within_s)) for keys in self._shards
        ]
        return sum(counts)

    async def job_state(self, job_id: str) -> tuple[JobState, Job | None]:
        forgotten = JobState.UNKNOWN
        for shard, keys in enumerate(self._shards):
            name, *rest = await self._scripts.run("state", keys, job_id)
            state = JobState(name)
            if state is JobState.DEAD:
                return state, letter_from(rest[1], queue=self._name, shard=shard).job
            if rest:
                return state, job_from(rest[1], rest[0])
            if state is JobState.DONE:
                forgotten = state
        return forgotten, None

    # --- dead letters --------------------------------------------------------------------------

    async def bury(
        self, job: NewJob, reason: DeadReason, error: BaseException
    ) -> DeadLetter | None:
        return await self._letters.bury(
            job,
            reason,
            self._note(error, "", counted=False),
            shard=shard_of(job.conversation, len(self._shards)),
        )

    async def dead(self, *, start: str = "-", count: int = 50) -> list[DeadLetter]:
        return await self._letters.page(start=start, count=count)

    async def dead_latest(self, *, before: str = "", count: int = 50) -> list[DeadLetter]:
        return await self._letters.latest(before=before, count=count)

    async def dead_get(self, dead_id: str) -> DeadLetter | None:
        return await self._letters.get(dead_id)

    async def replay(self, dead_id: str) -> bool:
        return await self._letters.replay(dead_id)

    async def purge(self, dead_id: str) -> bool:
        return await self._letters.purge(dead_id)

    # --- privacy -------------------------------------------------------------------------------

    async def mailbox(self, conversation: str) -> list[str]:
        return list(
            await self._scripts.run("forget", self._keys_of(conversation), conversation, "0")
        )

    async def forget(self, conversation: str) -> int:
        keys = self._keys_of(conversation)
        return len(await self._scripts.run("forget", keys, conversation, "1"))

    # --- parts of calls ------------------------------------------------------------------------

    def _keys_of(self, conversation: str) -> ShardKeys:
        return self._shards[shard_of(conversation, len(self._shards))]

    def _fence(self, claim: Claim) -> tuple[ShardKeys, str, str, int]:
        return self._shards[claim.shard], claim.entry_id, claim.consumer, claim.deliveries

    def _note(self, error: BaseException, consumer: str, *, counted: bool) -> str:
        return error_note(
            error,
            consumer=consumer,
            counted=counted,
            max_traceback_chars=self._settings.max_traceback_chars,
        )

    def _letters_from(self, rows: Sequence[Any], shard: int) -> list[DeadLetter]:
        return [letter_from(row, queue=self._name, shard=shard) for row in rows]


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
