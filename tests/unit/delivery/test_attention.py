"""What a person decides about replies, and what becomes of it."""

from __future__ import annotations

import pytest

from models.conversations import Reply, ReplyStatus
from models.errors import ListUnavailableError, QueueUnavailableError, SendRejectedError
from models.jobs import DeadReason, NewJob
from models.messages import DeliveryStatus, StatusUpdate
from serve_app.conversation.reply_parts import reply_job
from serve_app.delivery.attention import Decision, ReplyAttention
from serve_app.delivery.doubt import DoubtfulReplies
from serve_app.delivery.publisher import ReplyPublisher
from tests.unit.conversation.stage import claim_of
from tests.unit.delivery.desk import Desk, open_desk

S = ReplyStatus


def attention(desk: Desk) -> ReplyAttention:
    def job(reply: Reply, suffix: str) -> NewJob:
        return reply_job(reply, suffix=suffix)

    return ReplyAttention(
        replies=desk.store.replies,
        publisher=ReplyPublisher(outbound=desk.outbound, reply_job=job),
        doubtful=DoubtfulReplies(
            replies=desk.store.replies,
            accounts=desk.store.accounts,
            channels={desk.channel.name: desk.channel},
        ),
    )


async def parked(desk: Desk, *, arrived: bool = False, number: int = 1) -> Reply:
    """One whose job is long done."""
    (reply,) = await desk.answer(number, "Hello")
    claim = await desk.claim(reply)
    await (desk.crash_after_the_post(reply) if arrived else desk.crash_before_the_post(reply))
    await desk.store.replies.park(reply.id, error="nobody knows")
    await desk.outbound.complete(claim)
    desk.clock.advance(3600)
    return await desk.now_of(reply)


async def work(desk: Desk) -> None:
    claim = await claim_of(desk.outbound)
    await desk.sender.handle(claim)
    await desk.outbound.complete(claim)


async def is_idle(desk: Desk) -> bool:
    backlog = await desk.outbound.backlog()
    return not backlog.waiting + backlog.delayed + backlog.in_flight


async def test_one_that_never_arrived_is_sent_again() -> None:
    desk = await open_desk()
    reply = await parked(desk)
    assert await attention(desk).resend(reply) is Decision.RESENT
    await work(desk)
    assert desk.arrived == ["Hello"]
    assert await desk.status(reply) is S.SENT


async def test_one_that_arrived_is_not() -> None:
    desk = await open_desk()
    reply = await parked(desk, arrived=True)
    assert await attention(desk).resend(reply) is Decision.WAS_SENT
    assert await is_idle(desk)
    assert await desk.status(reply) is S.SENT
    assert desk.arrived == ["Hello"]


async def test_blindly_is_blindly() -> None:
    desk = await open_desk()
    reply = await parked(desk, arrived=True)
    desk.channel.list_error = ListUnavailableError("must not be asked")
    assert await attention(desk).resend(reply, blindly=True) is Decision.RESENT
    await work(desk)
    assert desk.arrived == ["Hello", "Hello"]


async def test_while_nobody_can_tell_nothing_changes() -> None:
    desk = await open_desk()
    reply = await parked(desk)
    desk.channel.list_error = ListUnavailableError("503")
    with pytest.raises(ListUnavailableError):
        await attention(desk).resend(reply)
    assert await desk.now_of(reply) == reply
    assert await is_idle(desk)


async def test_a_report_comes_while_the_person_decides() -> None:
    desk = await open_desk()
    reply = await parked(desk)
    report = StatusUpdate(
        channel="twilio",
        account_id=reply.account_sid,
        message_id="SM7",
        status=DeliveryStatus.DELIVERED,
        reply_id=reply.id,
        received_at=desk.clock.now(),
    )
    await desk.store.replies.apply_status(report)
    assert await attention(desk).resend(reply, blindly=True) is Decision.REFUSED
    assert await is_idle(desk)


async def test_a_report_comes_after_the_decision() -> None:
    desk = await open_desk()
    reply = await parked(desk, arrived=True)
    assert await attention(desk).resend(reply, blindly=True) is Decision.RESENT
    report = StatusUpdate(
        channel="twilio",
        account_id=reply.account_sid,
        message_id="SM7",
        status=DeliveryStatus.DELIVERED,
        reply_id=reply.id,
        received_at=desk.clock.now(),
    )
    await desk.store.replies.apply_status(report)
    await work(desk)
    assert desk.arrived == ["Hello"]
    assert await desk.status(reply) is S.SENT


async def test_a_dead_letter_is_no_obstacle_and_does_no_harm() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    claim = await desk.claim(reply)
    await desk.crash_before_the_post(reply)
    (letter,) = await desk.outbound.dead_letter(claim, DeadReason.PERMANENT, KeyError("?"))
    await desk.sender.on_dead([letter])
    assert await desk.status(reply) is S.PARKED
    desk.clock.advance(3600)
    assert await attention(desk).resend(await desk.now_of(reply)) is Decision.RESENT
    await work(desk)
    assert await desk.outbound.replay(letter.id)
    await work(desk)
    assert desk.arrived == ["Hello"]


async def test_one_that_the_provider_refused() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    desk.channel.fail_next(SendRejectedError("opted out", code=21610))
    await desk.send(reply)
    failed = await desk.now_of(reply)
    assert failed.status is S.FAILED
    # It is certain that it wasn't sent: nobody has to look.
    desk.channel.list_error = ListUnavailableError("must not be asked")
    assert await attention(desk).resend(failed) is Decision.RESENT
    await work(desk)
    assert desk.arrived == ["Hello"]


async def test_one_that_lies_still_is_published() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    assert await attention(desk).resend(reply) is Decision.RESENT
    assert await attention(desk).resend(reply) is Decision.QUEUED
    await work(desk)
    assert desk.arrived == ["Hello"]


async def test_redis_away_in_the_middle_is_made_good_by_asking_again() -> None:
    desk = await open_desk()
    reply = await parked(desk)
    desk.outbound.down = True
    with pytest.raises(QueueUnavailableError):
        await attention(desk).resend(reply)
    desk.outbound.down = False
    assert await attention(desk).resend(await desk.now_of(reply)) is Decision.RESENT
    await work(desk)
    assert desk.arrived == ["Hello"]


async def test_dropped_is_never_sent() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    claim = await desk.claim(reply)
    assert await attention(desk).drop(reply, why="wrong number") is Decision.DROPPED
    await desk.sender.handle(claim)
    assert desk.arrived == []
    now = await desk.now_of(reply)
    assert (now.status, now.error_message) == (S.CANCELED, "wrong number")
    assert await attention(desk).resend(now) is Decision.REFUSED
    assert await attention(desk).drop(now, why="again") is Decision.REFUSED


async def test_what_is_being_sent_is_not_dropped() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    await desk.crash_before_the_post(reply)
    assert await attention(desk).drop(reply, why="?") is Decision.REFUSED
