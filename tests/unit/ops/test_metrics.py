"""What is recorded, from webhook to delivery report, and that labels stay bounded."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from models.errors import (
    PermanentError,
    RecadoError,
    RetryableError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
    SnoozeError,
)
from models.inference import EngineStats
from models.jobs import Claim, DeadLetter, NewJob
from serve_app.ops import instruments as i
from serve_app.ops.queue_metrics import MeasuredHandler, settled_hook
from serve_app.ops.samplers import EVERY_S, EngineSampler, StoreSampler
from serve_app.queue.consumer import Outcome
from serve_app.testing.metrics import MemoryMetrics
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.samples import MemoryFigureSamples
from tests.unit.api.door import STATUS, open_door, text_message
from tests.unit.conversation.stage import ManualClock, build_stage, message
from tests.unit.delivery.desk import open_desk
from tests.unit.queue.test_consumer import Bench, Handler, fails


def test_names_follow_the_conventions() -> None:
    assert len({each.name for each in i.ALL}) == len(i.ALL)
    for each in i.ALL:
        assert re.fullmatch(r"recado_[a-z_]+", each.name)
        assert each.help.endswith(".")
        assert each.name.endswith("_total") == (each.kind == "counter")
        assert each.name.endswith("_seconds") or each.kind != "histogram"
        assert bool(each.buckets) == (each.kind == "histogram")
        assert list(each.buckets) == sorted(set(each.buckets))
        assert all(each.labels.values())


def test_every_outcome_and_queue_has_its_label() -> None:
    assert {outcome.value for outcome in Outcome} == set(i.TURNS.labels["outcome"])


def test_an_unknown_label_is_refused() -> None:
    metrics = MemoryMetrics()
    metrics.add(i.TURNS, queue="inbound", outcome="completed")
    metrics.add(i.TURNS, queue="of +15550001", outcome="completed")
    metrics.add(i.TURNS, queue="inbound")
    metrics.set(i.TURNS, 1.0, queue="inbound", outcome="completed")
    assert metrics.value(i.TURNS, queue="inbound", outcome="completed") == 1
    assert len(metrics.refused) == 3


async def test_webhooks_are_counted_by_what_became_of_them() -> None:
    async with open_door() as door:
        await door.post(text_message(1))
        await door.post(text_message(1))
        await door.post(text_message(2), signature="forged")
        await door.post([*text_message(3), ("x", "y" * 5000)])
        await door.post([("AccountSid", dict(text_message(1))["AccountSid"])])
        door.inbound.down = True
        await door.post(text_message(4))
        door.spool.down = True
        await door.post(text_message(5))
        await door.post(text_message(6), path=STATUS)
        counted = door.metrics.by_label(i.WEBHOOKS, "outcome")
        assert counted == {
            "accepted": 1,
            "duplicate": 1,
            "signature_refused": 1,
            "malformed": 1,
            "unprocessable": 2,
            "spooled": 1,
            "unavailable": 1,
        }
        assert len(door.metrics.seen(i.WEBHOOK_SECONDS, kind="message")) == 7
        assert len(door.metrics.seen(i.WEBHOOK_SECONDS, kind="status")) == 1
        assert door.metrics.refused == []


async def test_a_shed_webhook_is_counted() -> None:
    async with open_door(max_backlog=1) as door:
        for number in range(3):
            job = NewJob(id=f"j{number}", conversation=f"c{number}", payload="{}")
            await door.inbound.publish(job)
        await door.watch.look()
        await door.post(text_message(1))
        assert door.metrics.by_label(i.WEBHOOKS, "outcome") == {"shed": 1}


async def test_every_stage_of_a_turn_is_timed() -> None:
    stage = await build_stage()
    await stage.turn(message(1))
    for name in i.STAGES:
        assert len(stage.metrics.seen(i.STAGE_SECONDS, stage=name)) == (name != "send"), name
    assert stage.metrics.refused == []


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "sent"),
        (SendDeferredError("busy"), "deferred"),
        (SendRejectedError("no such number"), "rejected"),
        (SendUnknownError("timeout"), "unknown"),
    ],
)
async def test_sends_are_counted_by_outcome(error: RecadoError | None, outcome: str) -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    if error is not None:
        desk.channel.fail_next(error)
    try:
        await desk.send(reply)
    except (RetryableError, SnoozeError):
        assert error is not None
    assert desk.metrics.by_label(i.SENDS, "outcome") == {outcome: 1}
    assert len(desk.metrics.seen(i.STAGE_SECONDS, stage="send")) == 1
    assert desk.metrics.refused == []


class _Measured:
    """A consumer whose handler is measured as in the product."""

    def __init__(self, **acts: object) -> None:
        self.metrics = MemoryMetrics()
        self.bench = Bench(Handler(**acts))  # type: ignore[arg-type]
        consumer = self.bench.consumer
        consumer._handler = MeasuredHandler(
            self.bench.handler, queue="inbound", metrics=self.metrics
        )
        hook = settled_hook("inbound", self.metrics)
        note = self.bench._settled

        def settled(claim: Claim, outcome: Outcome, seconds: float) -> None:
            hook(claim, outcome, seconds)
            note(claim, outcome, seconds)

        consumer._on_settled = settled


async def test_turns_waits_and_dead_letters_are_counted() -> None:
    measured = _Measured(
        m1=fails(RetryableError("not yet"), times=1), m2=fails(PermanentError("never"))
    )
    await measured.bench.publish("m1", "m2")
    async with measured.bench.running():
        await measured.bench.settled(3)
    metrics = measured.metrics
    assert metrics.by_label(i.TURNS, "outcome") == {"retried": 1, "completed": 1, "dead": 1}
    assert metrics.by_label(i.DEAD_LETTERS, "reason") == {"permanent": 1}
    assert len(metrics.seen(i.QUEUE_WAIT_SECONDS, queue="inbound")) == 3
    assert len(metrics.seen(i.QUEUE_PROCESSING_SECONDS, queue="inbound")) == 3
    assert metrics.refused == []


async def test_dead_letters_reach_the_handler_too() -> None:
    told: list[str] = []

    class Listener(Handler):
        async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
            told.extend(letter.job.id for letter in letters)

    handler = MeasuredHandler(Listener(), queue="inbound", metrics=MemoryMetrics())
    queue = MemoryQueue(name="inbound")
    job = NewJob(id="m1", conversation="c", payload="{}")
    letter = await queue.bury(job, i.DeadReason.PERMANENT, PermanentError("never"))
    assert letter is not None
    await handler.on_dead([letter])
    assert told == ["m1"]


async def test_backlogs_open_replies_and_the_spool_are_looked_at() -> None:
    desk = await open_desk()
    await desk.answer(1, "Hello", "World")
    metrics = MemoryMetrics()
    inbound = MemoryQueue(name="inbound")
    for number in range(3):
        await inbound.publish(NewJob(id=f"m{number}", conversation=f"c{number}", payload="{}"))
    await desk.store.spool.add("inbound", NewJob(id="s", conversation="c", payload="{}"))
    sampler = StoreSampler(
        queues=(inbound, desk.outbound),
        replies=desk.store.replies,
        spool=desk.store.spool,
        samples=desk.store.samples,
        metrics=metrics,
        clock=ManualClock(),
    )
    await sampler.look()
    assert metrics.value(i.QUEUE_WAITING, queue="inbound") == 3
    assert metrics.value(i.REPLIES, status="pending") == 2
    assert metrics.value(i.SPOOL_JOBS) == 1
    assert metrics.value(i.STORE_UP, store="redis") == 1
    assert metrics.value(i.STORE_UP, store="postgres") == 1

    inbound.down = True
    await sampler.look()
    assert metrics.value(i.STORE_UP, store="redis") == 0
    assert metrics.value(i.STORE_UP, store="postgres") == 1
    assert metrics.refused == []


async def test_backlogs_are_written_down_every_few_looks_whatever_goes_wrong() -> None:
    desk, clock = await open_desk(), ManualClock()
    samples, metrics = MemoryFigureSamples(now=clock.now), MemoryMetrics()
    inbound = MemoryQueue(name="inbound")
    sampler = StoreSampler(
        queues=(inbound,),
        replies=desk.store.replies,
        spool=desk.store.spool,
        samples=samples,
        metrics=metrics,
        clock=clock,
    )

    async def look() -> float:
        """The mean of what was written down so far, after one more turn came."""
        job = NewJob(id=f"m{clock.monotonic()}", conversation=f"c{clock.monotonic()}", payload="{}")
        await inbound.publish(job)
        await sampler.look()
        clock.advance(EVERY_S)
        (queue,) = (await samples.figures(seconds=3_600, points=1)).queues
        return queue.waiting_mean

    assert [await look() for _ in range(4)] == [1.0, 1.0, 1.0, 2.5]
    # A store that is away costs that sample, not the look: the next one is written down again.
    clock.advance(60)
    samples.down = True
    await sampler.look()
    assert metrics.value(i.STORE_UP, store="redis") == 1
    assert metrics.value(i.QUEUE_WAITING, queue="inbound") == 4
    samples.down = False
    clock.advance(60)
    assert await look() == pytest.approx(10 / 3)


def test_a_models_counters_are_handed_on_as_they_grow() -> None:
    metrics = MemoryMetrics()
    stats = EngineStats(engine="e", model="m", device="cpu", batches=2, rows=5, work_done=40.0)
    looks = iter((stats, stats.model_copy(update={"batches": 3, "work_done": 55.0, "waiting": 4})))
    sampler = EngineSampler(
        model="chat",
        batch_limit=8,
        stats=lambda: next(looks),
        metrics=metrics,
        clock=ManualClock(),
    )
    sampler.look()
    sampler.look()
    assert metrics.value(i.MODEL_BATCHES, model="chat") == 3
    assert metrics.value(i.MODEL_ROWS, model="chat") == 5
    assert metrics.value(i.MODEL_TOKENS, model="chat") == 55
    assert metrics.value(i.MODEL_WAITING, model="chat") == 4
    assert metrics.value(i.MODEL_BATCH_LIMIT, model="chat") == 8
    assert metrics.refused == []
