"""What was stored but never reached a queue."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from models.conversations import Reply, ReplyStatus
from models.errors import QueueUnavailableError, SendDeferredError
from models.jobs import DeadReason, JobState, NewJob
from serve_app.conversation.reply_parts import reply_job
from serve_app.delivery import publisher as publishing
from serve_app.delivery import sweeper as module
from serve_app.delivery.attention import PURGED, purge_outbound
from serve_app.delivery.publisher import ReplyPublisher
from serve_app.delivery.sweeper import Sweeper
from serve_app.testing.queue import MemoryQueue
from tests.unit.conversation import stage
from tests.unit.conversation.stage import claim_of, message
from tests.unit.delivery.desk import Desk, open_desk

OLD_S = 30.0


def build(desk: Desk, inbound: MemoryQueue | None = None) -> Sweeper:
    def job(reply: Reply, suffix: str) -> NewJob:
        return reply_job(reply, suffix=suffix)

    inbound = inbound or MemoryQueue(name="inbound", clock=desk.clock)
    return Sweeper(
        spool=desk.store.spool,
        replies=desk.store.replies,
        queues={"inbound": inbound, "outbound": desk.outbound},
        publisher=ReplyPublisher(outbound=desk.outbound, reply_job=job),
        clock=desk.clock,
        interval_s=10,
        spool_interval_s=1,
        older_than_s=OLD_S,
    )


async def spool(desk: Desk, count: int, *, debounce_s: float = 0.0) -> list[str]:
    jobs = [stage.job(message(number)) for number in range(count)]
    for job in jobs:
        await desk.store.spool.add("inbound", job, debounce_s=debounce_s)
    return [job.id for job in jobs]


# --- the spool ------------------------------------------------------------------------------------


async def test_the_spool_is_drained_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPOOL_BATCH", 3)
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    ids = await spool(desk, 8)
    assert await build(desk, inbound).sweep_spool() == 8
    assert await desk.store.spool.count() == 0
    claim = await claim_of(inbound)
    assert [job.id for job in claim.jobs] == ids


async def test_conversations_are_published_beside_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    order: list[str] = []
    publish = inbound.publish

    async def slow(job: NewJob, *, debounce_s: float = 0.0) -> bool:
        await asyncio.sleep(0.1)
        order.append(job.id)
        return await publish(job, debounce_s=debounce_s)

    monkeypatch.setattr(inbound, "publish", slow)
    for number in range(30):
        job = NewJob(id=f"{number}", conversation=f"c{number % 10}", payload="{}")
        await desk.store.spool.add("inbound", job)
    began = asyncio.get_running_loop().time()
    assert await build(desk, inbound).sweep_spool() == 30
    assert asyncio.get_running_loop().time() - began < 2.0, "one after the other it is 3 s"
    for conversation in range(10):
        assert [n for n in order if int(n) % 10 == conversation] == [
            f"{number}" for number in range(conversation, 30, 10)
        ]


async def test_a_failure_ends_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    for number in range(4):
        job = NewJob(id=f"{number}", conversation=f"c{number}", payload="{}")
        await desk.store.spool.add("inbound", job)
    published: list[str] = []

    async def fail(job: NewJob, *, debounce_s: float = 0.0) -> bool:
        if job.id == "0":
            raise QueueUnavailableError("away")
        await asyncio.sleep(0.02)
        published.append(job.id)
        return True

    monkeypatch.setattr(inbound, "publish", fail)
    with pytest.raises(QueueUnavailableError):
        await build(desk, inbound).sweep_spool()
    await asyncio.sleep(0.04)
    assert published == []
    assert await desk.store.spool.count() == 4


async def test_one_that_no_queue_takes_holds_up_its_conversation_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "SPOOL_BATCH", 3)
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    await desk.store.spool.add("renamed", NewJob(id="lost", conversation="c9", payload="{}"))
    for number in range(8):
        job = NewJob(id=f"{number}", conversation=f"c{number % 2}", payload="{}")
        await desk.store.spool.add("inbound", job)
    publish, refused = inbound.publish, ["2"]

    async def refuse(job: NewJob, *, debounce_s: float = 0.0) -> bool:
        if job.id in refused:
            raise QueueUnavailableError("redis answered with an error", away=False)
        return await publish(job, debounce_s=debounce_s)

    monkeypatch.setattr(inbound, "publish", refuse)
    sweeper = build(desk, inbound)
    with capture_logs() as logs:
        assert await sweeper.sweep_spool() == 5
        assert await sweeper.sweep_spool() == 0
    stuck = [entry["job"] for entry in logs if entry["event"] == "spooled_job_is_stuck"]
    assert sorted(stuck) == ["2", "lost"], "told once each"
    assert [item.job.id for item in desk.store.tables.spool.values()] == ["lost", "2", "4", "6"]

    refused.clear()
    assert await sweeper.sweep_spool() == 3
    claims = await inbound.take(consumer="test", count=9, block_s=0)
    taken = {claim.conversation: [job.id for job in claim.jobs] for claim in claims}
    assert taken == {"c0": ["0", "2", "4", "6"], "c1": ["1", "3", "5", "7"]}


async def test_a_debounce_is_kept() -> None:
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    (job_id,) = await spool(desk, 1, debounce_s=5)
    await build(desk, inbound).sweep_spool()
    assert (await inbound.job_state(job_id))[0] is JobState.DELAYED


async def test_what_was_published_before_the_spool_was_left_is_published_once() -> None:
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    await inbound.publish(stage.job(message(0)))
    await spool(desk, 2)
    await build(desk, inbound).sweep_spool()
    assert len((await claim_of(inbound)).jobs) == 2


async def test_a_queue_that_is_away_loses_nothing() -> None:
    desk = await open_desk()
    inbound = MemoryQueue(name="inbound", clock=desk.clock)
    ids = await spool(desk, 3)
    sweeper = build(desk, inbound)
    inbound.down = True
    for _ in range(2):
        with pytest.raises(QueueUnavailableError):
            await sweeper.sweep_spool()
    assert await desk.store.spool.count() == 3
    inbound.down = False
    assert await sweeper.sweep_spool() == 3
    assert [job.id for job in (await claim_of(inbound)).jobs] == ids


# --- forgotten replies ----------------------------------------------------------------------------


async def drain(desk: Desk) -> list[str]:
    """Work off the outbound queue; the ids of its jobs."""
    done: list[str] = []
    for claim in await desk.outbound.take(consumer="test", count=100, block_s=0):
        await desk.sender.handle(claim)
        await desk.outbound.complete(claim)
        done += [job.id for job in claim.jobs]
    return done


async def test_a_forgotten_reply_is_published_once_and_sent() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    sweeper = build(desk)
    assert await sweeper.sweep_replies() == 0
    desk.clock.advance(OLD_S)
    assert await sweeper.sweep_replies() == 1
    desk.clock.advance(OLD_S)
    assert await sweeper.sweep_replies() == 0
    assert await drain(desk) == [reply.id]
    assert desk.arrived == ["Hello"]
    desk.clock.advance(OLD_S)
    assert await sweeper.sweep_replies() == 0


async def test_a_reply_whose_job_is_done_all_the_same_gets_another_job() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    await desk.outbound.complete(await desk.claim(reply))
    desk.clock.advance(OLD_S)
    sweeper = build(desk)
    assert await sweeper.sweep_replies() == 1
    for _ in range(5):
        desk.clock.advance(OLD_S)
        assert await sweeper.sweep_replies() == 0
    assert await drain(desk) == [f"{reply.id}:1"]
    assert desk.arrived == ["Hello"]


async def test_a_repeat_that_waits_for_a_retry_is_not_repeated() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    await desk.outbound.complete(await desk.claim(reply))
    desk.clock.advance(OLD_S)
    sweeper = build(desk)
    await sweeper.sweep_replies()
    claim = await claim_of(desk.outbound)
    await desk.outbound.retry(claim, SendDeferredError("later"), retry_after=7200)
    for _ in range(20):
        desk.clock.advance(OLD_S)
        assert await sweeper.sweep_replies() == 0
    assert (await desk.outbound.backlog()).delayed == 1


@pytest.mark.parametrize("repeated", [False, True])
async def test_a_dead_letter_is_left_to_a_person(repeated: bool) -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    sweeper = build(desk)
    if repeated:
        await desk.outbound.complete(await desk.claim(reply))
        desk.clock.advance(OLD_S)
        await sweeper.sweep_replies()
    else:
        await desk.publish(reply)
    claim = await claim_of(desk.outbound)
    await desk.outbound.dead_letter(claim, DeadReason.EXHAUSTED, SendDeferredError("429"))
    for _ in range(3):
        desk.clock.advance(OLD_S)
        assert await sweeper.sweep_replies() == 0


async def test_a_reply_left_in_sending_is_looked_after() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    await desk.crash_after_the_post(reply)
    desk.clock.advance(OLD_S)
    assert await build(desk).sweep_replies() == 1
    await drain(desk)
    assert desk.arrived == ["Hello"]


async def test_one_in_doubt_that_lost_its_job_is_looked_into() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    await desk.crash_after_the_post(reply)
    await desk.store.replies.mark_unknown(reply.id, error="no answer")
    desk.clock.advance(OLD_S)
    assert await build(desk).sweep_replies() == 1
    await drain(desk)
    assert desk.arrived == ["Hello"]
    assert await desk.status(reply) is ReplyStatus.SENT


async def test_one_in_doubt_whose_job_was_given_up_is_parked() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    claim = await desk.claim(reply)
    await desk.crash_after_the_post(reply)
    await desk.outbound.dead_letter(claim, DeadReason.EXHAUSTED, SendDeferredError("429"))
    desk.clock.advance(OLD_S)
    assert await build(desk).sweep_replies() == 0
    assert await desk.status(reply) is ReplyStatus.PARKED


async def test_dead_letters_do_not_hide_a_forgotten_reply() -> None:
    desk = await open_desk()
    sweeper = build(desk)
    for number in range(150):
        (dead,) = await desk.answer(number, "never")
        claim = await desk.claim(dead)
        await desk.outbound.dead_letter(claim, DeadReason.EXHAUSTED, SendDeferredError("429"))
    desk.clock.advance(1)
    await desk.answer(999, "forgotten")
    desk.clock.advance(OLD_S)
    assert await sweeper.sweep_replies() == 1


async def test_a_reply_that_is_never_done_with_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(publishing, "MOST_REPEATS", 3)
    desk = await open_desk()
    await desk.answer(1, "Hello")
    sweeper = build(desk)
    published = 0
    for _ in range(6):
        desk.clock.advance(OLD_S)
        published += await sweeper.sweep_replies()
        for claim in await desk.outbound.take(consumer="test", count=9, block_s=0):
            await desk.outbound.complete(claim)
    assert published == 3


# --- the loop -------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [QueueUnavailableError("away"), KeyError("a bug")])
async def test_the_loop_outlives_whatever_a_sweep_raises(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    desk = await open_desk()
    sweeper = build(desk)
    rounds = asyncio.Semaphore(0)

    async def fail() -> int:
        rounds.release()
        raise error

    fail.__name__ = "sweep_spool"
    monkeypatch.setattr(sweeper, "sweep_spool", fail)
    (reply,) = await desk.answer(1, "Hello")
    task = asyncio.create_task(_run(sweeper))
    for _ in range(6):
        await asyncio.wait_for(rounds.acquire(), 5)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert desk.clock.slept.count(1) >= 5
    # The other sweep was made all the same, as soon as the reply was old enough.
    assert (await desk.outbound.job_state(reply.id))[0] is JobState.WAITING


async def _run(sweeper: Any) -> None:
    await sweeper.run()


async def test_a_purged_letter_takes_its_reply_along() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    claim = await desk.claim(reply)
    (letter,) = await desk.outbound.dead_letter(
        claim, DeadReason.EXHAUSTED, SendDeferredError("no luck")
    )
    replies = desk.store.replies
    assert await purge_outbound(letter.id, outbound=desk.outbound, replies=replies)
    assert not await purge_outbound(letter.id, outbound=desk.outbound, replies=replies)
    desk.clock.advance(OLD_S + 1)
    assert await build(desk).sweep_replies() == 0
    now = await desk.now_of(reply)
    assert (now.status, now.error_message) == (ReplyStatus.CANCELED, PURGED)
    assert (await desk.outbound.backlog()).waiting == 0
