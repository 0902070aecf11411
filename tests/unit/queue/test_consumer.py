"""The consumer over the queue in memory: outcomes, leases, draining."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
import structlog
from structlog.testing import capture_logs

from models.errors import (
    EngineUnavailableError,
    PermanentError,
    QueueUnavailableError,
    RetryableError,
    SnoozeError,
    StaleClaimError,
    StoreUnavailableError,
)
from models.jobs import Claim, DeadLetter, DeadReason, JobState, NewJob
from serve_app.queue import turn
from serve_app.queue.consumer import Consumer, Outcome
from serve_app.settings import QueueSettings
from serve_app.testing.queue import MemoryQueue

SETTINGS = QueueSettings(
    lease_s=0.15, max_attempts=2, backoff_base_s=0.001, backoff_cap_s=0.001, max_turn_jobs=4
)


class Handler:
    """Does what it is told for each job id; `died` are the letters it was told about."""

    def __init__(self, **actions: Callable[[Claim], Awaitable[None]]) -> None:
        self._actions = actions
        self.claims: list[Claim] = []
        self.running = 0
        self.most_running = 0
        self.died: list[DeadLetter] = []

    async def handle(self, claim: Claim) -> None:
        self.claims.append(claim)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            for job in claim.jobs:
                if job.id in self._actions:
                    await self._actions[job.id](claim)
        finally:
            self.running -= 1

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        self.died += letters


def fails(error: BaseException, *, times: int = 1_000) -> Callable[[Claim], Awaitable[None]]:
    left = times

    async def act(_claim: Claim) -> None:
        nonlocal left
        if left > 0:
            left -= 1
            raise error

    return act


def sleeps(seconds: float) -> Callable[[Claim], Awaitable[None]]:
    async def act(_claim: Claim) -> None:
        await asyncio.sleep(seconds)

    return act


class Bench:
    def __init__(
        self, handler: Handler, queue: MemoryQueue | None = None, **settings: float
    ) -> None:
        self.queue = queue or MemoryQueue(settings=SETTINGS)
        self.handler = handler
        self.outcomes: list[tuple[tuple[str, ...], Outcome]] = []
        options = {
            "concurrency": 4,
            "lease_s": SETTINGS.lease_s,
            "turn_timeout_s": 5.0,
            "block_s": 0.02,
            "scan_interval_s": 0.02,
            "promote_interval_s": 0.005,
            "drain_s": 1.0,
        }
        self.consumer = Consumer(
            queue=self.queue,
            handler=handler,
            consumer_id="c1",
            on_settled=self._settled,
            **{**options, **settings},  # type: ignore[arg-type]
        )

    def _settled(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        assert seconds >= 0.0
        self.outcomes.append((tuple(job.id for job in claim.jobs), outcome))

    async def publish(self, *ids: str, conversation: str | None = None) -> None:
        for job_id in ids:
            job = NewJob(
                id=job_id,
                conversation=conversation or job_id,
                payload="{}",
                trace={"correlation_id": f"trace-{job_id}"},
            )
            assert await self.queue.publish(job)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():  # noqa: ASYNC110 - anything may be waited for
                await asyncio.sleep(0.002)

    async def settled(self, count: int) -> list[tuple[tuple[str, ...], Outcome]]:
        await self.until(lambda: len(self.outcomes) >= count)
        return self.outcomes

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        run = asyncio.create_task(self.consumer.run())
        try:
            yield
        finally:
            await asyncio.wait_for(self.consumer.drain(), 5)
            await run


async def test_a_turn_that_returns_is_completed() -> None:
    bench = Bench(Handler())
    await bench.publish("m1")
    async with bench.running():
        assert await bench.settled(1) == [(("m1",), Outcome.COMPLETED)]
    assert await bench.queue.job_state("m1") == (JobState.DONE, None)


async def test_a_retryable_failure_is_tried_again() -> None:
    bench = Bench(Handler(m1=fails(RetryableError("not yet"), times=1)))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(2)
    assert [outcome for _, outcome in outcomes] == [Outcome.RETRIED, Outcome.COMPLETED]
    assert bench.handler.claims[1].jobs[0].attempts == 1


async def test_retry_after_is_passed_on() -> None:
    bench = Bench(Handler(m1=fails(RetryableError("not yet", retry_after=60))))
    await bench.publish("m1")
    async with bench.running():
        await bench.settled(1)
        await asyncio.sleep(0.05)
    assert len(bench.handler.claims) == 1
    assert (await bench.queue.backlog()).delayed == 1


@pytest.mark.parametrize("error", [StoreUnavailableError("away"), QueueUnavailableError("away")])
async def test_a_store_that_is_away_uses_no_attempt_up(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(turn, "STORE_AWAY_S", 0.01)
    outages = 3 * SETTINGS.max_attempts
    bench = Bench(Handler(m1=fails(error, times=outages)))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(outages + 1)
    assert [outcome for _, outcome in outcomes] == [Outcome.SNOOZED] * outages + [Outcome.COMPLETED]
    assert bench.handler.died == []


async def test_a_store_that_answers_with_an_error_counts() -> None:
    """The work itself may be at fault, and must not be repeated for ever."""
    bench = Bench(Handler(m1=fails(StoreUnavailableError("no such column", away=False))))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(2)
    assert [outcome for _, outcome in outcomes] == [Outcome.RETRIED, Outcome.DEAD]


async def test_an_unknown_failure_is_a_failed_attempt_with_its_traceback() -> None:
    bench = Bench(Handler(m1=fails(ZeroDivisionError("oh"))))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(2)
    assert [outcome for _, outcome in outcomes] == [Outcome.RETRIED, Outcome.DEAD]
    (letter,) = bench.handler.died
    assert letter.reason is DeadReason.EXHAUSTED
    assert [note.error_type for note in letter.job.history] == ["ZeroDivisionError"] * 2
    assert "in act" in letter.job.history[0].traceback


async def test_a_permanent_failure_is_buried_alone() -> None:
    bench = Bench(Handler(m2=fails(PermanentError("never"))))
    await bench.publish("m1", "m2", "m3", conversation="c")
    async with bench.running():
        outcomes = await bench.settled(4)
    assert outcomes == [
        (("m1", "m2", "m3"), Outcome.SPLIT),
        (("m1",), Outcome.COMPLETED),
        (("m2",), Outcome.DEAD),
        (("m3",), Outcome.COMPLETED),
    ]
    assert [letter.job.id for letter in bench.handler.died] == ["m2"]
    assert bench.handler.died[0].reason is DeadReason.PERMANENT


async def test_a_snooze_counts_no_attempt() -> None:
    bench = Bench(Handler(m1=fails(SnoozeError("busy", delay_s=0.01), times=5)))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(6)
    assert [outcome for _, outcome in outcomes] == [Outcome.SNOOZED] * 5 + [Outcome.COMPLETED]


async def test_a_model_that_is_away_uses_up_no_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn, "ENGINE_AWAY_S", 0.01)
    bench = Bench(Handler(m1=fails(EngineUnavailableError("no replica"), times=8)))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(9)
    assert [outcome for _, outcome in outcomes] == [Outcome.SNOOZED] * 8 + [Outcome.COMPLETED]
    assert bench.handler.claims[-1].jobs[0].attempts == 0


async def test_a_model_that_stays_away_is_a_failure_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn, "ENGINE_AWAY_S", 0.05)
    bench = Bench(Handler(m1=fails(EngineUnavailableError("no replica"))), engine_wait_s=0.12)
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bool(bench.handler.died))
    outcomes = [outcome for _, outcome in bench.outcomes]
    assert outcomes[0] is Outcome.SNOOZED
    assert outcomes[-1] is Outcome.DEAD
    (letter,) = bench.handler.died
    assert letter.job.attempts == SETTINGS.max_attempts


async def test_a_model_that_dies_with_the_request_counts() -> None:
    """The request may be what killed it."""
    bench = Bench(Handler(m1=fails(EngineUnavailableError("died", died=True))))
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bool(bench.handler.died))
    assert Outcome.SNOOZED not in [outcome for _, outcome in bench.outcomes]


async def test_a_handler_that_found_itself_replaced_settles_nothing() -> None:
    bench = Bench(Handler(m1=fails(StaleClaimError("gone"), times=1)))
    await bench.publish("m1")
    async with bench.running():
        assert (await bench.settled(1))[0] == (("m1",), Outcome.STALE)
        outcomes = await bench.settled(2)
    assert outcomes[1] == (("m1",), Outcome.COMPLETED), "the lease ran out, the turn was repeated"


async def test_a_turn_that_takes_too_long_fails_and_tells_where_it_hung() -> None:
    bench = Bench(Handler(m1=sleeps(60)), turn_timeout_s=0.03)
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bool(bench.handler.died))
    (letter,) = bench.handler.died
    assert letter.job.history[0].error_type == "TurnTimeoutError"
    assert "asyncio.sleep(seconds)" in letter.job.history[0].traceback


async def test_a_handler_that_cancels_itself_is_a_failed_attempt() -> None:
    bench = Bench(Handler(m1=fails(asyncio.CancelledError(), times=1)))
    await bench.publish("m1")
    async with bench.running():
        outcomes = await bench.settled(2)
    assert [outcome for _, outcome in outcomes] == [Outcome.RETRIED, Outcome.COMPLETED]


async def test_a_failing_on_dead_stops_nothing() -> None:
    class Clumsy(Handler):
        async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
            raise RuntimeError("clumsy")

    bench = Bench(Clumsy(m1=fails(PermanentError("never"))))
    await bench.publish("m1", "m2")
    async with bench.running():
        outcomes = await bench.settled(2)
        assert bench.consumer.healthy
    assert sorted(outcomes) == [(("m1",), Outcome.DEAD), (("m2",), Outcome.COMPLETED)]


async def test_a_long_turn_keeps_its_lease_and_runs_once() -> None:
    bench = Bench(Handler(m1=sleeps(10 * 0.15)))
    await bench.publish("m1")
    async with bench.running():
        assert await bench.settled(1) == [(("m1",), Outcome.COMPLETED)]
    assert len(bench.handler.claims) == 1


async def test_a_lost_turn_is_cancelled_and_not_settled() -> None:
    bench = Bench(Handler(m1=sleeps(60)))
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bench.handler.running == 1)
        claim = bench.handler.claims[0]
        await bench.queue.complete(claim)
        assert await bench.settled(1) == [(("m1",), Outcome.STALE)]
    assert bench.handler.running == 0


async def test_no_more_turns_than_allowed_run_at_once() -> None:
    names = [f"m{number}" for number in range(20)]
    bench = Bench(Handler(**{name: sleeps(0.01) for name in names}), concurrency=3)
    await bench.publish(*names)
    async with bench.running():
        await bench.settled(20)
    assert bench.handler.most_running == 3


async def test_crash_letters_reach_the_handler() -> None:
    bench = Bench(Handler())
    await bench.publish("m1")
    await bench.queue.take(consumer="dead", count=1, block_s=0)
    for _ in range(2):
        await asyncio.sleep(SETTINGS.lease_s + 0.01)
        assert len(await bench.queue.reclaim(consumer="dead", count=1)) == 1
    async with bench.running():
        await bench.until(lambda: bool(bench.handler.died))
    assert bench.handler.died[0].reason is DeadReason.CRASH
    assert bench.handler.claims == []


async def test_log_lines_of_a_turn_carry_its_context() -> None:
    seen: dict[str, object] = {}

    async def look(_claim: Claim) -> None:
        seen.update(structlog.contextvars.get_contextvars())

    bench = Bench(Handler(m1=look))
    await bench.publish("m1")
    async with bench.running():
        await bench.settled(1)
    assert seen == {
        "queue": "memory",
        "job_ids": ["m1"],
        "conversation": "m1",
        "correlation_id": "trace-m1",
    }
    assert structlog.contextvars.get_contextvars() == {}


# --- draining -----------------------------------------------------------------------------------------


async def test_a_drain_lets_running_turns_finish() -> None:
    bench = Bench(Handler(m1=sleeps(0.1)))
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bench.handler.running == 1)
        assert bench.consumer.healthy
        assert bench.consumer.in_flight == 1
    assert bench.outcomes == [(("m1",), Outcome.COMPLETED)]
    assert not bench.consumer.healthy
    assert bench.consumer.in_flight == 0


async def test_a_drain_hands_back_what_does_not_finish() -> None:
    bench = Bench(Handler(m1=sleeps(60)), drain_s=0.05)
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bench.handler.running == 1)
    assert bench.outcomes == [(("m1",), Outcome.RELEASED)]
    (claim,) = await bench.queue.take(consumer="next", count=1, block_s=0)
    assert (claim.jobs[0].attempts, claim.jobs[0].crashes) == (0, 0)


async def test_a_turn_that_waits_for_a_slot_is_handed_back_unstarted() -> None:
    bench = Bench(Handler(m1=sleeps(60)), concurrency=1, drain_s=0.05)
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bench.handler.running == 1)
        await bench.publish("m2")
    (claim, other) = await bench.queue.take(consumer="next", count=5, block_s=0)
    assert {claim.conversation, other.conversation} == {"m1", "m2"}
    assert len(bench.handler.claims) == 1


async def test_nothing_is_taken_after_a_drain_and_draining_twice_is_fine() -> None:
    bench = Bench(Handler())
    async with bench.running():
        await asyncio.sleep(0.02)
    await bench.publish("m1")
    await bench.consumer.drain()
    await asyncio.sleep(0.05)
    assert (await bench.queue.backlog()).waiting == 1


async def test_cancelling_the_run_hands_turns_back() -> None:
    bench = Bench(Handler(m1=sleeps(60)))
    await bench.publish("m1")
    run = asyncio.create_task(bench.consumer.run())
    await bench.until(lambda: bench.handler.running == 1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    # The read that was under way may get it once more.
    assert set(bench.outcomes) == {(("m1",), Outcome.RELEASED)}
    assert (await bench.queue.backlog()).waiting == 1


# --- outages -------------------------------------------------------------------------------------------


async def test_an_outage_is_survived_and_logged_once() -> None:
    bench = Bench(Handler())
    with structlog.testing.capture_logs() as lines:
        async with bench.running():
            await asyncio.sleep(0.02)
            bench.queue.down = True
            await asyncio.sleep(0.3)
            assert bench.consumer.healthy
            bench.queue.down = False
            await bench.publish("m1")
            await bench.settled(1)
            await bench.until(lambda: any(line["event"] == "queue is back" for line in lines))
    events = [line["event"] for line in lines if str(line["event"]).startswith("queue is")]
    assert events == ["queue is away", "queue is back"]


async def test_an_outcome_is_settled_when_the_queue_is_back() -> None:
    bench = Bench(Handler(m1=sleeps(0.02)))
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bench.handler.running == 1)
        bench.queue.down = True
        await bench.until(lambda: bench.handler.running == 0)
        await asyncio.sleep(SETTINGS.lease_s * 2)
        bench.queue.down = False
        assert await bench.settled(1) == [(("m1",), Outcome.COMPLETED)]
    assert len(bench.handler.claims) == 1, "the outage alone is no reason to repeat a turn"


async def test_an_outcome_that_cannot_be_settled_is_abandoned_by_the_drain() -> None:
    bench = Bench(Handler(m1=sleeps(0.02)), drain_s=0.1)
    await bench.publish("m1")
    async with bench.running():
        await bench.until(lambda: bench.handler.running == 1)
        bench.queue.down = True
        await bench.until(lambda: bench.handler.running == 0)
    assert bench.outcomes == [(("m1",), Outcome.ABANDONED)]


async def test_a_bug_in_the_queue_does_not_end_a_loop() -> None:
    class Buggy(MemoryQueue):
        calls = 0

        async def promote(self) -> int:
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError
            return await super().promote()

    queue = Buggy(settings=SETTINGS)
    bench = Bench(Handler(), queue=queue)
    async with bench.running():
        await bench.until(lambda: queue.calls > 1)
        assert bench.consumer.healthy


async def test_the_memory_queue_is_unavailable_on_request() -> None:
    queue = MemoryQueue()
    queue.down = True
    with pytest.raises(QueueUnavailableError):
        await queue.publish(NewJob(id="m1", conversation="c", payload=""))


async def test_what_a_handler_binds_is_on_its_turns_own_lines() -> None:
    async def fail(_claim: Claim) -> None:
        structlog.contextvars.bind_contextvars(conversation="the real one", owner="café")
        raise RetryableError("no luck")

    bench = Bench(Handler(m1=fail))
    await bench.publish("m1")
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with bench.running():
            await bench.until(lambda: bool(bench.outcomes))
    told = [entry for entry in logs if entry["event"] in ("turn failed", "turn settled")][:2]
    assert [(line["conversation"], line["owner"]) for line in told] == [
        ("the real one", "café")
    ] * 2
    assert structlog.contextvars.get_contextvars() == {}


async def test_a_slow_word_about_dead_letters_holds_up_no_reclaiming() -> None:
    bench = Bench(Handler())
    told, go_on = asyncio.Event(), asyncio.Event()

    async def wait(letters: Sequence[DeadLetter]) -> None:
        told.set()
        await go_on.wait()
        bench.handler.died += letters

    bench.handler.on_dead = wait  # type: ignore[method-assign]
    await bench.publish("buried")
    await bench.queue.take(consumer="dead", count=1, block_s=0)
    for _ in range(2):
        await asyncio.sleep(SETTINGS.lease_s + 0.01)
        assert len(await bench.queue.reclaim(consumer="dead", count=1)) == 1
    await asyncio.sleep(SETTINGS.lease_s + 0.01)
    await bench.publish("orphan")
    assert len(await bench.queue.take(consumer="gone", count=1, block_s=0)) == 1
    async with bench.running():
        await asyncio.wait_for(told.wait(), 5)
        assert await bench.settled(1) == [(("orphan",), Outcome.COMPLETED)]
        go_on.set()
    assert [letter.job.id for letter in bench.handler.died] == ["buried"]
