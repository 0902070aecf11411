"""Consumers against a real server, in processes that are killed and beside a server that is."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from models.errors import QueueUnavailableError, RetryableError
from models.jobs import Claim, DeadLetter, JobState, NewJob
from serve_app.queue.consumer import Consumer, Outcome
from serve_app.queue.service import QueueService
from tests.fixtures.valkey import ValkeyServer
from tests.integration.queue.conftest import Opened
from tests.integration.queue.victim import LEASE_S

pytestmark = pytest.mark.integration
Open = Callable[..., Opened]


class Recorder:
    """Remembers the order of jobs in each conversation; a turn takes `seconds`."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.handled: dict[str, list[str]] = defaultdict(list)
        self.running: set[str] = set()
        self.overlaps = 0
        self.letters: list[DeadLetter] = []

    async def handle(self, claim: Claim) -> None:
        self.overlaps += claim.conversation in self.running
        self.running.add(claim.conversation)
        try:
            await asyncio.sleep(self.seconds)
            self.handled[claim.conversation] += [job.id for job in claim.jobs]
        finally:
            self.running.discard(claim.conversation)

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        self.letters += letters


@asynccontextmanager
async def consuming(
    queue: QueueService, handler: Recorder, *, name: str = "c1", **changes: float
) -> AsyncIterator[Consumer]:
    options = {
        "concurrency": 8,
        "lease_s": LEASE_S,
        "turn_timeout_s": 10.0,
        "block_s": 0.2,
        "scan_interval_s": 0.1,
        "promote_interval_s": 0.02,
        "drain_s": 2.0,
    }
    consumer = Consumer(queue=queue, handler=handler, consumer_id=name, **{**options, **changes})
    run = asyncio.create_task(consumer.run())
    yield consumer
    await consumer.drain()
    await run


@asynccontextmanager
async def victim(url: str, prefix: str, file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.queue.victim", url, prefix, str(file)),
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():  # noqa: ASYNC110 - anything may be waited for
            await asyncio.sleep(0.01)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


async def test_everything_is_handled_in_order_and_once(valkey_url: str, open_queue: Open) -> None:
    queue, _ = open_queue(valkey_url, lease_s=LEASE_S * 10)
    expected: dict[str, list[str]] = defaultdict(list)
    first, second = Recorder(0.001), Recorder(0.001)
    async with (
        consuming(queue, first, lease_s=LEASE_S * 10),
        consuming(queue, second, name="c2", lease_s=LEASE_S * 10),
    ):
        for number in range(300):
            conversation = f"c{number * 7 % 30}"
            job = NewJob(id=f"m{number}", conversation=conversation, payload="{}")
            await queue.publish(job, debounce_s=0.01 if number % 5 == 0 else 0.0)
            expected[conversation].append(job.id)
        await until(
            lambda: sum(len(ids) for r in (first, second) for ids in r.handled.values()) >= 300
        )
    handled = sorted(job for r in (first, second) for ids in r.handled.values() for job in ids)
    assert handled == sorted(job for ids in expected.values() for job in ids)
    for recorder in (first, second):
        assert recorder.overlaps == 0
        for conversation, ids in recorder.handled.items():
            assert ids == [job for job in expected[conversation] if job in ids]
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_flight, backlog.delayed, backlog.dead) == (0, 0, 0, 0)


async def test_the_turns_of_a_killed_process_are_taken_over(
    valkey_url: str, redis_prefix: str, open_queue: Open, tmp_path: Path
) -> None:
    queue, _ = open_queue(valkey_url, lease_s=LEASE_S)
    file = tmp_path / "victim"
    await queue.publish(NewJob(id="endless", conversation="c", payload="{}"))
    async with victim(valkey_url, redis_prefix, file) as process:
        await until(lambda: lines(file) == ["given endless"])
        await queue.publish(NewJob(id="m2", conversation="c", payload="{}"))
        process.kill()
        await process.wait()
        recorder = Recorder()
        async with consuming(queue, recorder):
            await until(lambda: recorder.handled["c"] == ["endless", "m2"])
    assert await queue.job_state("endless") == (JobState.DONE, None)


async def test_a_handler_that_kills_its_process_is_delivered_three_times(
    valkey_url: str, redis_prefix: str, open_queue: Open, tmp_path: Path
) -> None:
    queue, _ = open_queue(valkey_url, lease_s=LEASE_S)
    file = tmp_path / "victim"
    for job_id in ("good1", "killer", "good2"):
        await queue.publish(NewJob(id=job_id, conversation="c", payload="{}"))
    for _ in range(3):
        async with victim(valkey_url, redis_prefix, file) as process:
            await asyncio.wait_for(process.wait(), 20)
    async with victim(valkey_url, redis_prefix, file) as process:
        await until(lambda: "completed good2" in lines(file))
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 20) == 0, "it drains on SIGTERM"
    assert lines(file).count("given killer") == 3
    assert lines(file).count("dead killer crash") == 1
    assert lines(file).count("completed good1") == lines(file).count("completed good2") == 1
    (letter,) = await queue.dead()
    assert (letter.job.id, letter.job.crashes) == ("killer", 3)


async def test_a_drain_lets_turns_finish_and_hands_the_rest_back(
    valkey_url: str, open_queue: Open
) -> None:
    queue, _ = open_queue(valkey_url)
    for number in range(12):
        await queue.publish(NewJob(id=f"m{number}", conversation=f"c{number}", payload="{}"))
    quick, slow = Recorder(0.3), Recorder(60)
    outcomes: list[Outcome] = []
    one = Consumer(
        **{  # type: ignore[arg-type]
            "queue": queue,
            "handler": slow,
            "consumer_id": "one",
            "concurrency": 4,
            "lease_s": 30.0,
            "turn_timeout_s": 90.0,
            "block_s": 0.2,
            "scan_interval_s": 1.0,
            "promote_interval_s": 0.2,
            "drain_s": 0.1,
        },
        on_settled=lambda _claim, outcome, _seconds: outcomes.append(outcome),
    )
    run = asyncio.create_task(one.run())
    await until(lambda: len(slow.running) == 4)
    await one.drain()
    await run
    assert set(outcomes) == {Outcome.RELEASED}
    async with consuming(queue, quick, concurrency=12, lease_s=30.0):
        await until(lambda: len(quick.running) == 12, limit_s=2.0)
    assert len(quick.handled) == 12, "the drain waited for all of them"
    assert (await queue.backlog()).in_flight == 0


async def test_a_server_killed_under_load_loses_nothing(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, _ = open_queue(private_valkey.url, lease_s=2.0, command_timeout_s=1.0)
    recorder, accepted = Recorder(0.005), list[str]()
    async with consuming(queue, recorder, lease_s=2.0) as consumer:

        async def publish_all() -> None:
            for number in range(300):
                job = NewJob(id=f"m{number}", conversation=f"c{number % 10}", payload="{}")
                while job.id not in accepted:
                    try:
                        await queue.publish(job)
                        accepted.append(job.id)
                    except QueueUnavailableError:
                        await asyncio.sleep(0.02)
                await asyncio.sleep(0.002)

        publishing = asyncio.create_task(publish_all())
        for _ in range(3):
            await asyncio.sleep(0.2)
            private_valkey.kill()
            await asyncio.sleep(0.1)
            private_valkey.start()
        await publishing

        def all_handled() -> bool:
            return {job for ids in recorder.handled.values() for job in ids} == set(accepted)

        await until(all_handled)
        assert consumer.healthy
    for conversation, ids in recorder.handled.items():
        firsts = list(dict.fromkeys(ids))
        assert firsts == [job for job in accepted if job in firsts], conversation
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_flight, backlog.dead) == (0, 0, 0)


async def test_a_failing_turn_is_retried_by_the_loops(valkey_url: str, open_queue: Open) -> None:
    queue, _ = open_queue(valkey_url, backoff_base_s=0.01, backoff_cap_s=0.02, max_attempts=3)

    class Failing(Recorder):
        async def handle(self, claim: Claim) -> None:
            if any(job.id == "bad" for job in claim.jobs):
                raise RetryableError("no")
            await super().handle(claim)

    recorder = Failing()
    for job_id in ("good1", "bad", "good2"):
        await queue.publish(NewJob(id=job_id, conversation="c", payload="{}"))
    async with consuming(queue, recorder):
        await until(lambda: recorder.handled["c"] == ["good1", "good2"])
    (letter,) = recorder.letters
    assert (letter.job.id, letter.job.attempts, len(letter.job.history)) == ("bad", 3, 3)
