"""The scripts against a plain model of the queue, in random order and with random crashes."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from models.errors import RetryableError, StaleClaimError
from models.jobs import Backlog, Claim, DeadReason, Job, JobState, NewJob
from serve_app.queue.connection import connect
from serve_app.queue.scripts import Script
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings
from tests.fixtures.valkey import ValkeyServer, redis_binaries

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

MAX_ATTEMPTS, MAX_CRASHES, MAX_TURN = 2, 2, 3
LEASE_S = 60.0
"""Longer than any example takes: who is to be given up is made to look silent."""
BACKOFF_S, SNOOZE_S, BURST_S, LONGEST_BURST_S = 4.0, 1.0, 2.0, 5.0
MOMENT_S = 0.001
REDIS_TIME = """local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)"""
OUR_TIME = "return tonumber(redis.call('GET', PREFIX .. 'clock'))"
NOT_OF_A_QUEUE = {"common", "send_rates", "slow_down"}
ERROR = RetryableError("no")
HOWS = ["keep", "complete", "retry", "snooze", "release", "bury"]
FAIRNESS = {"a": "", "b": "", "c": "one", "d": "one", "e": "two"}
"""Conversations and the line that each waits in."""


@dataclass
class ModelJob:
    id: str
    attempts: int = 0
    crashes: int = 0
    alone: bool = False
    quiet_at: int | None = None
    latest: int | None = None

    @property
    def by_itself(self) -> bool:
        return self.alone or self.attempts > 0 or self.crashes > 0


class Model:
    """Where each conversation's token is, and its mailbox. No leases; `now` is the queue's clock."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000
        self.mailboxes: dict[str, list[ModelJob]] = {}
        self.front: list[str] = []
        self.lines: dict[str, list[str]] = {}
        self.delayed: dict[str, int] = {}
        """By due time."""
        self.bursting: set[str] = set()
        """Those of them that wait for a burst to end."""
        self.running: dict[str, list[ModelJob]] = {}
        self.accepted: set[str] = set()
        self.dead: dict[str, tuple[str, ModelJob]] = {}

    @property
    def ready(self) -> list[str]:
        return self.front + [each for line in self.lines.values() for each in line]

    def make_ready(self, conversation: str) -> None:
        """Behind its own kind, unless nobody waits."""
        if self.ready:
            self.lines.setdefault(FAIRNESS[conversation], []).append(conversation)
        else:
            self.front.append(conversation)

    def advance(self) -> str:
        """The first of the first line, which goes behind the others."""
        key = next(iter(self.lines))
        line = self.lines.pop(key)
        if line[1:]:
            self.lines[key] = line[1:]
        return line[0]

    def push(self, conversation: str, job: ModelJob, *, replayed: bool = False) -> None:
        self.mailboxes.setdefault(conversation, []).append(job)
        if conversation in self.bursting:
            if not replayed and (due := self.burst_end(conversation)):
                self.delayed[conversation] = max(self.delayed[conversation], due)
        elif not self.has_token(conversation):
            if replayed:
                self.make_ready(conversation)
            else:
                self.rest_or_go(conversation)

    def has_token(self, conversation: str) -> bool:
        places = (self.ready, self.delayed, self.running)
        return any(conversation in place for place in places)

    def burst_end(self, conversation: str) -> int:
        """0 where nobody asked to wait."""
        mailbox = self.mailboxes[conversation]
        quiet_at, latest = mailbox[-1].quiet_at, mailbox[0].latest
        return 0 if quiet_at is None or latest is None else min(quiet_at, latest)

    def rest_or_go(self, conversation: str) -> None:
        due = self.burst_end(conversation)
        if due > self.now:
            self.delayed[conversation] = due
            self.bursting.add(conversation)
        else:
            self.make_ready(conversation)

    def open(self, conversation: str) -> list[ModelJob]:
        turn: list[ModelJob] = []
        for job in self.mailboxes[conversation][:MAX_TURN]:
            if job.by_itself and turn:
                break
            turn.append(job)
            if job.by_itself:
                break
        self.running[conversation] = turn
        return turn

    def take(self, count: int) -> list[str]:
        taken, self.front = self.front[:count], self.front[count:]
        while len(taken) < count and self.lines:
            taken.append(self.advance())
        if self.lines and not self.front:
            self.front.append(self.advance())
        for conversation in taken:
            self.open(conversation)
        return taken

    def lose(self) -> str:
        """Read by somebody who dies before it opened the turn."""
        conversation = self.front.pop(0)
        self.running[conversation] = []
        return conversation

    def go_on(self, conversation: str, *gone: ModelJob) -> None:
        del self.running[conversation]
        left = [job for job in self.mailboxes[conversation] if job not in gone]
        if left:
            self.mailboxes[conversation] = left
            self.rest_or_go(conversation)
        else:
            del self.mailboxes[conversation]

    def hand_back(self, conversation: str) -> None:
        """It was its turn already: nothing is waited for."""
        del self.running[conversation]
        self.make_ready(conversation)

    def delay(self, conversation: str, due: int) -> None:
        del self.running[conversation]
        self.delayed[conversation] = due

    def promote(self) -> int:
        """How many became ready, in the order in which they are due."""
        due = sorted((at, each) for each, at in self.delayed.items() if at <= self.now)
        for _, conversation in due:
            self.make_ready(conversation)
            del self.delayed[conversation]
            self.bursting.discard(conversation)
        return len(due)

    def forget(self, conversation: str) -> None:
        self.mailboxes.pop(conversation, None)
        self.delayed.pop(conversation, None)
        self.bursting.discard(conversation)
        self.running.pop(conversation, None)
        if conversation in self.front:
            self.front.remove(conversation)
        line = self.lines.get(key := FAIRNESS[conversation], [])
        if conversation in line:
            line.remove(conversation)
            if not line:
                del self.lines[key]

    def bury(self, conversation: str, job: ModelJob) -> None:
        self.dead[job.id] = (conversation, job)
        self.go_on(conversation, job)


class QueueMachine(RuleBasedStateMachine):
    """Nothing in it depends on real time, so that the same choices always lead to the same end."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        configured = QueueSettings(
            prefix=f"model-{uuid.uuid4().hex[:10]}",
            lease_s=LEASE_S,
            backoff_base_s=BACKOFF_S,
            backoff_cap_s=BACKOFF_S,
            debounce_max_s=LONGEST_BURST_S,
            max_attempts=MAX_ATTEMPTS,
            max_crashes=MAX_CRASHES,
            max_turn_jobs=MAX_TURN,
            # Not what is looked at: a busy machine may take its time.
            connect_timeout_s=20.0,
            command_timeout_s=30.0,
        )
        self.redis = connect(self.url, configured)
        self.queue = QueueService(redis=self.redis, name="q", settings=configured, random=Random(1))
        self.keys = self.queue._shards[0]
        self.model = Model()
        self.claims: dict[str, Claim] = {}
        self.stale: list[Claim] = []
        self.unopened: dict[str, str] = {}
        """Conversations whose entry was read by a reader that died then, with the entry."""
        self.published = 0
        self.takers = 0
        take_the_clock(self.queue)
        self.do(self.set_clock(self.model.now))

    async def set_clock(self, now: int) -> None:
        # In the shard's hash slot, for the cluster's sake.
        await self.redis.set(f"{self.keys.prefix}clock", now)

    def teardown(self) -> None:
        self.do(self.redis.aclose())
        self.runner.close()

    def do(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    # --- rules -----------------------------------------------------------------------------------

    @precondition(lambda self: sum(map(len, self.model.mailboxes.values())) < 14)
    @rule(
        conversation=st.sampled_from(sorted(FAIRNESS)),
        count=st.integers(1, 3),
        debounce_s=st.sampled_from([0.0, 0.0, BURST_S]),
    )
    def publish(self, conversation: str, count: int, debounce_s: float) -> None:
        for _ in range(count):
            job_id = f"m{self.published}"
            self.published += 1
            key = FAIRNESS[conversation]
            job = NewJob(id=job_id, conversation=conversation, payload=job_id, fairness_key=key)
            assert self.do(self.queue.publish(job, debounce_s=debounce_s))
            assert not self.do(self.queue.publish(job, debounce_s=debounce_s))
            old = NewJob(id=f"m{self.published // 2}", conversation="a", payload="changed")
            assert not self.do(self.queue.publish(old))
            self.model.accepted.add(job_id)
            waits = {
                "quiet_at": self.model.now + round(1000 * debounce_s),
                "latest": self.model.now + round(1000 * LONGEST_BURST_S),
            }
            self.model.push(conversation, ModelJob(job_id, **(waits if debounce_s else {})))

    @rule(
        count=st.integers(1, 3),
        waiting=st.booleans(),
        hows=st.lists(st.sampled_from(HOWS), min_size=3, max_size=3),
    )
    def take(self, count: int, waiting: bool, hows: list[str]) -> None:
        self.takers += 1
        consumer = f"t{self.takers}"
        if waiting:
            # What a reader does that found nothing and waits for the stream.
            expected = self.model.take(count) if self.model.front else []
            claims = self.do(self.queue._take_next(consumer=consumer, count=count, wait_s=MOMENT_S))
        else:
            expected = self.model.take(count)
            claims = self.do(self.queue.take(consumer=consumer, count=count, block_s=0.0))
        assert [claim.conversation for claim in claims] == expected
        for claim in claims:
            self.check(claim)
        for claim, how in zip(claims, hows, strict=False):
            self.settle(claim.conversation, how)

    @precondition(lambda self: self.model.front)
    @rule()
    def a_reader_dies(self) -> None:
        scripts = self.queue._scripts
        (entry,) = self.do(scripts.read_new(self.keys, consumer="died early", count=1, block_ms=1))
        self.unopened[self.model.lose()] = entry

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), how=st.sampled_from(HOWS))
    def settle_later(self, data: st.DataObject, how: str) -> None:
        self.settle(data.draw(st.sampled_from(sorted(self.claims))), how)

    def settle(self, conversation: str, how: str) -> None:
        if how == "keep":
            return
        claim, turn = self.claims.pop(conversation), self.model.running[conversation]
        self.stale.append(claim)
        match how:
            case "complete":
                self.do(self.queue.complete(claim))
                self.model.go_on(conversation, *turn)
            case "release":
                self.do(self.queue.release(claim))
                self.model.hand_back(conversation)
            case "snooze":
                self.do(self.queue.snooze(claim, delay_s=SNOOZE_S, reason="later"))
                self.model.delay(conversation, self.model.now + round(1000 * SNOOZE_S))
            case "retry":
                letters = self.do(self.queue.retry(claim, ERROR))
                for job in turn:
                    job.attempts += 1
                exhausted = len(turn) == 1 and turn[0].attempts >= MAX_ATTEMPTS
                assert [letter.job.id for letter in letters] == [j.id for j in turn if exhausted]
                if exhausted:
                    self.model.bury(conversation, turn[0])
                else:
                    # A part of the backoff that the queue's own dice decide.
                    due = int(
                        self.do(self.redis.zscore(f"{self.keys.prefix}delayed", conversation))
                    )
                    assert 0 <= due - self.model.now <= 1000 * BACKOFF_S
                    self.model.delay(conversation, due)
            case "bury":
                letters = self.do(self.queue.dead_letter(claim, DeadReason.PERMANENT, ERROR))
                if len(turn) == 1:
                    turn[0].attempts += 1
                    assert [letter.job.id for letter in letters] == [turn[0].id]
                    self.model.bury(conversation, turn[0])
                else:
                    assert letters == []
                    for job in turn:
                        job.alone = True
                    self.model.hand_back(conversation)

    @precondition(lambda self: self.stale)
    @rule(data=st.data(), how=st.sampled_from(HOWS))
    def settle_too_late(self, data: st.DataObject, how: str) -> None:
        claim, queue = data.draw(st.sampled_from(self.stale)), self.queue
        calls = {
            "complete": lambda: queue.complete(claim),
            "retry": lambda: queue.retry(claim, ERROR),
            "snooze": lambda: queue.snooze(claim, delay_s=0, reason="later"),
            "release": lambda: queue.release(claim),
            "keep": lambda: queue.heartbeat(claim),
            "bury": lambda: queue.dead_letter(claim, DeadReason.PERMANENT, ERROR),
        }
        with pytest.raises(StaleClaimError):
            self.do(calls[how]())

    @precondition(lambda self: self.claims or self.unopened)
    @rule(data=st.data())
    def some_consumers_die(self, data: st.DataObject) -> None:
        """They, and nobody else, look as if they had been silent for two leases."""
        candidates = sorted({*self.claims, *self.unopened})
        lost = sorted(
            data.draw(st.lists(st.sampled_from(candidates), min_size=1, unique=True), label="lost")
        )
        for conversation in lost:
            self.silence(conversation)
        self.takers += 1
        claims = self.do(self.queue.reclaim(consumer=f"t{self.takers}", count=10))
        letters = {letter.job.id for letter in self.queue.pop_crash_letters()}
        buried, inherited = set[str](), set[str]()
        for conversation in lost:
            turn = self.model.running[conversation]
            for job in turn:
                job.crashes += 1
            if len(turn) == 1 and turn[0].crashes >= MAX_CRASHES:
                buried.add(turn[0].id)
            else:
                self.model.open(conversation)
                inherited.add(conversation)
        assert letters == buried
        assert {claim.conversation for claim in claims} == inherited
        # Their order on the stream is the order in which they were ready, not the alphabet's.
        for letter in self.do(self.queue.dead(count=1000)):
            if letter.job.id in buried:
                turn = self.model.running[letter.job.conversation]
                self.model.bury(letter.job.conversation, turn[0])
        for claim in claims:
            self.check(claim)

    def silence(self, conversation: str) -> None:
        claim = self.claims.pop(conversation, None)
        if claim is not None:
            self.stale.append(claim)
            entry, consumer, deliveries = claim.entry_id, claim.consumer, claim.deliveries
        else:
            entry, consumer, deliveries = self.unopened.pop(conversation), "died early", 1
        self.do(
            self.redis.execute_command(
                *("XCLAIM", self.keys.ready, "turns", consumer, 0, entry),
                *("IDLE", round(2000 * LEASE_S), "RETRYCOUNT", deliveries, "JUSTID"),
            )
        )

    @rule(ms=st.sampled_from([0, 1, 400, 1_000, 3_000, 3_600_000, -1_000, -3_600_000]))
    def time_passes(self, ms: int) -> None:
        """Or jumps, as a server's clock does: also back."""
        self.model.now += ms
        self.do(self.set_clock(self.model.now))
        assert self.do(self.queue.promote()) == self.model.promote()

    @rule(conversation=st.sampled_from(sorted(FAIRNESS)))
    def a_contact_is_forgotten(self, conversation: str) -> None:
        claim = self.claims.pop(conversation, None)
        if claim is not None:
            self.stale.append(claim)
        self.unopened.pop(conversation, None)
        waiting = [job.id for job in self.model.mailboxes.get(conversation, [])]
        assert self.do(self.queue.mailbox(conversation)) == waiting
        assert self.do(self.queue.forget(conversation)) == len(waiting)
        self.model.forget(conversation)

    @rule(conversation=st.sampled_from(sorted(FAIRNESS)))
    def one_is_dead_on_arrival(self, conversation: str) -> None:
        job_id = f"m{self.published}"
        self.published += 1
        key = FAIRNESS[conversation]
        job = NewJob(id=job_id, conversation=conversation, payload=job_id, fairness_key=key)
        assert self.do(self.queue.bury(job, DeadReason.UNPROCESSABLE, ERROR)) is not None
        assert self.do(self.queue.bury(job, DeadReason.UNPROCESSABLE, ERROR)) is None
        assert not self.do(self.queue.publish(job))
        self.model.accepted.add(job_id)
        self.model.dead[job_id] = (conversation, ModelJob(job_id))

    @precondition(lambda self: self.model.dead)
    @rule(data=st.data(), again=st.booleans())
    def look_after_the_dead(self, data: st.DataObject, again: bool) -> None:
        job_id = data.draw(st.sampled_from(sorted(self.model.dead)))
        (letter,) = [x for x in self.do(self.queue.dead(count=1000)) if x.job.id == job_id]
        conversation, job = self.model.dead.pop(job_id)
        assert (letter.job.attempts, letter.job.crashes) == (job.attempts, job.crashes)
        act = self.queue.replay if again else self.queue.purge
        assert self.do(act(letter.id))
        assert not self.do(act(letter.id))
        if again:
            self.model.push(conversation, ModelJob(job_id, alone=True), replayed=True)

    # --- invariants --------------------------------------------------------------------------------

    def check(self, claim: Claim) -> None:
        turn = self.model.running[claim.conversation]
        found = [(job.id, job.attempts, job.crashes) for job in claim.jobs]
        assert found == [(job.id, job.attempts, job.crashes) for job in turn]
        self.do(self.queue.heartbeat(claim))
        self.claims[claim.conversation] = claim

    @invariant()
    def everything_is_somewhere(self) -> None:
        model, expected = self.model, dict[str, JobState]()
        for conversation, mailbox in model.mailboxes.items():
            running = model.running.get(conversation, [])
            for job in mailbox:
                if conversation in model.delayed:
                    expected[job.id] = JobState.DELAYED
                else:
                    expected[job.id] = JobState.RUNNING if job in running else JobState.WAITING
        expected |= dict.fromkeys(model.dead, JobState.DEAD)
        looked_at = sorted(model.accepted)[-2:]

        async def look() -> tuple[Backlog, list[tuple[JobState, Job | None]]]:
            states = [await self.queue.job_state(job_id) for job_id in looked_at]
            return await self.queue.backlog(), states

        backlog, states = self.do(look())
        assert (backlog.waiting, backlog.in_flight) == (len(model.ready), len(model.running))
        assert (backlog.delayed, backlog.dead) == (len(model.delayed), len(model.dead))
        for job_id, (state, _) in zip(looked_at, states, strict=True):
            assert state is expected.get(job_id, JobState.DONE), job_id


def take_the_clock(queue: QueueService) -> None:
    """Its scripts read a key where they ask the server for the time."""
    for path in (files("serve_app.queue") / "lua").iterdir():
        name = path.name.removesuffix(".lua")
        if name in NOT_OF_A_QUEUE:
            continue
        script = Script(name)
        assert script.source.count(REDIS_TIME) == 1, name
        script.source = script.source.replace(REDIS_TIME, OUR_TIME)
        script.sha = hashlib.sha1(script.source.encode(), usedforsecurity=False).hexdigest()
        queue._scripts._scripts[name] = script


def explore(url: str, *, examples: int, steps: int, chance: int) -> None:
    """Raises `AssertionError` where queue and model differ; the same `chance` makes the same choices. A
    failure is told as it was found: to shrink it would take too long."""

    class Machine(QueueMachine):
        pass

    Machine.url = url
    run = settings(
        phases=[Phase.generate],
        database=None,
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(chance)(Machine), settings=run)


SERVERS = {"valkey": None, **redis_binaries()}
TO_EXPLORE = [*SERVERS, "cluster"]
QUICK = ("--appendonly", "no")
"""What is synced when isn't looked at here."""
CLUSTER = ("--cluster-enabled", "yes")


@contextmanager
def server_to_explore(name: str, folder: Path) -> Iterator[str]:
    """The address of a server of its own: Valkey, every Redis there is, or (`cluster`) one Valkey node that
    serves all slots, which refuses a script that touches two of them."""
    clustered = name == "cluster"
    options = (*QUICK, *CLUSTER) if clustered else QUICK
    server = ValkeyServer(folder, *options, binary=SERVERS.get(name))
    server.start()
    try:
        if clustered:
            asyncio.run(serve_all_slots(server.url))
        yield server.url
    finally:
        server.stop()


async def serve_all_slots(url: str) -> None:
    redis = connect(url, QueueSettings())
    try:
        await redis.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with asyncio.timeout(10):
            while "cluster_state:ok" not in await redis.execute_command("CLUSTER", "INFO"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    finally:
        await redis.aclose()


def test_there_is_a_redis_to_test_against() -> None:
    assert redis_binaries(), "install a redis-server (Debian: apt-get install redis-server)"


@pytest.mark.parametrize("name", TO_EXPLORE)
def test_the_scripts_behave_like_the_model(name: str, tmp_path: Path) -> None:
    with server_to_explore(name, tmp_path) as url:
        # The others run the same scripts: what could differ there shows soon.
        explore(url, examples=40 if name == "valkey" else 12, steps=30, chance=1)
