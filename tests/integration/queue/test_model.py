"""The scripts against a plain model of the queue, in random order and with random crashes."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.errors import FlakyStrategyDefinition
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
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings
from tests.fixtures.valkey import ValkeyServer, redis_binaries

pytestmark = pytest.mark.integration

MAX_ATTEMPTS, MAX_CRASHES, MAX_TURN = 2, 2, 3
# Times so short that one pause lets all of them pass.
SHORT_S, PAUSE_S = 0.001, 0.003
AT_A_TIME = 20
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

    @property
    def by_itself(self) -> bool:
        return self.alone or self.attempts > 0 or self.crashes > 0


class Model:
    """Where each conversation's token is, and its mailbox. No leases, no clocks."""

    def __init__(self) -> None:
        self.mailboxes: dict[str, list[ModelJob]] = {}
        self.front: list[str] = []
        self.lines: dict[str, list[str]] = {}
        self.delayed: set[str] = set()
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

    def push(self, conversation: str, job: ModelJob) -> None:
        self.mailboxes.setdefault(conversation, []).append(job)
        if not (
            conversation in self.ready
            or conversation in self.delayed
            or conversation in self.running
        ):
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
            self.make_ready(conversation)
        else:
            del self.mailboxes[conversation]

    def delay(self, conversation: str) -> None:
        del self.running[conversation]
        self.delayed.add(conversation)

    def bury(self, conversation: str, job: ModelJob) -> None:
        self.dead[job.id] = (conversation, job)
        self.go_on(conversation, job)


class QueueMachine(RuleBasedStateMachine):
    url = ""
    begun = 0
    """Examples."""

    def __init__(self) -> None:
        super().__init__()
        QueueMachine.begun += 1
        self.runner = asyncio.Runner()
        configured = QueueSettings(
            prefix=f"model-{uuid.uuid4().hex[:10]}",
            lease_s=SHORT_S,
            backoff_base_s=SHORT_S,
            backoff_cap_s=SHORT_S,
            max_attempts=MAX_ATTEMPTS,
            max_crashes=MAX_CRASHES,
            max_turn_jobs=MAX_TURN,
            # Not what is looked at: a busy machine may take its time.
            connect_timeout_s=20.0,
            command_timeout_s=30.0,
        )
        self.redis = connect(self.url, configured)
        self.queue = QueueService(redis=self.redis, name="q", settings=configured, random=Random(1))
        self.model = Model()
        self.claims: dict[str, Claim] = {}
        self.stale: list[Claim] = []
        self.unopened: set[str] = set()
        self.published = 0
        self.takers = 0

    def teardown(self) -> None:
        self.do(self.redis.aclose())
        self.runner.close()

    def do(self, call: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(call)

    # --- rules -----------------------------------------------------------------------------------

    @precondition(lambda self: sum(map(len, self.model.mailboxes.values())) < 14)
    @rule(conversation=st.sampled_from(sorted(FAIRNESS)), count=st.integers(1, 3))
    def publish(self, conversation: str, count: int) -> None:
        for _ in range(count):
            job_id = f"m{self.published}"
            self.published += 1
            key = FAIRNESS[conversation]
            job = NewJob(id=job_id, conversation=conversation, payload=job_id, fairness_key=key)
            assert self.do(self.queue.publish(job))
            assert not self.do(self.queue.publish(job))
            old = NewJob(id=f"m{self.published // 2}", conversation="a", payload="changed")
            assert not self.do(self.queue.publish(old))
            self.model.accepted.add(job_id)
            self.model.push(conversation, ModelJob(job_id))

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
            claims = self.do(self.queue._take_next(consumer=consumer, count=count, wait_s=SHORT_S))
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
        scripts, keys = self.queue._scripts, self.queue._shards[0]
        self.do(scripts.read_new(keys, consumer="died early", count=1, block_ms=1))
        self.unopened.add(self.model.lose())

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
                self.model.go_on(conversation)
            case "snooze":
                self.do(self.queue.snooze(claim, delay_s=SHORT_S, reason="later"))
                self.model.delay(conversation)
            case "retry":
                letters = self.do(self.queue.retry(claim, ERROR))
                for job in turn:
                    job.attempts += 1
                exhausted = len(turn) == 1 and turn[0].attempts >= MAX_ATTEMPTS
                assert [letter.job.id for letter in letters] == [j.id for j in turn if exhausted]
                if exhausted:
                    self.model.bury(conversation, turn[0])
                else:
                    self.model.delay(conversation)
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
                    self.model.go_on(conversation)

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
    @rule()
    def all_consumers_die(self) -> None:
        self.do(asyncio.sleep(PAUSE_S))
        self.takers += 1
        claims = self.do(self.queue.reclaim(consumer=f"t{self.takers}", count=10))
        letters = {letter.job.id for letter in self.queue.pop_crash_letters()}
        self.stale += self.claims.values()
        lost, self.claims = sorted({*self.claims, *self.unopened}), {}
        self.unopened.clear()
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

    @precondition(lambda self: self.model.delayed)
    @rule()
    def time_passes(self) -> None:
        self.do(asyncio.sleep(PAUSE_S))
        # Which of them comes first depends on milliseconds: look it up.
        order = self.do(self.redis.zrange(f"{self.queue._shards[0].prefix}delayed", 0, -1))
        assert sorted(order) == sorted(self.model.delayed)
        assert self.do(self.queue.promote()) == len(order)
        for conversation in order:
            self.model.make_ready(conversation)
        self.model.delayed.clear()

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
            self.model.push(conversation, ModelJob(job_id, alone=True))

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


def explore(url: str, *, examples: int, steps: int) -> None:
    """Raises `AssertionError` where queue and model differ. A failure is told as it was found: to shrink it
    would take too long."""
    QueueMachine.url, QueueMachine.begun = url, 0
    while QueueMachine.begun < examples:
        run = settings(
            phases=[Phase.generate],
            database=None,
            max_examples=min(AT_A_TIME, examples - QueueMachine.begun),
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        # Which of two delayed comes first depends on milliseconds: the same choices may lead elsewhere.
        with contextlib.suppress(FlakyStrategyDefinition):
            run_state_machine_as_test(QueueMachine, settings=run)


SERVERS = {"valkey": None, **redis_binaries()}
QUICK = ("--appendonly", "no")
"""What is synced when isn't looked at here."""
CLUSTER = ("--cluster-enabled", "yes")


@pytest.fixture(params=[*SERVERS, "cluster"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server of its own: Valkey, every Redis there is, and one Valkey node that serves all slots, which
    refuses a script that touches two of them."""
    clustered = request.param == "cluster"
    options = (*QUICK, *CLUSTER) if clustered else QUICK
    server = ValkeyServer(tmp_path, *options, binary=SERVERS.get(request.param))
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


def test_the_scripts_behave_like_the_model(url: str) -> None:
    explore(url, examples=40, steps=30)
