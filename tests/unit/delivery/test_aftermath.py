"""Messages that were accepted and then failed: sent once more where that makes sense, and never twice."""

from __future__ import annotations

import pytest

from models.accounts import ReplyTemplate, SendingRules
from models.conversations import Reply, ReplyStatus
from models.errors import SendDeferredError, SnoozeError
from models.messages import DeliveryStatus, Fault
from serve_app.conversation.reply_parts import reply_job
from tests.unit.conversation import stage
from tests.unit.delivery.desk import Desk, open_desk
from tests.unit.delivery.test_status import handler_of, report, reports

S = ReplyStatus
TEMPLATE = ReplyTemplate(content_sid="HX" + "0" * 32)


async def failed(desk: Desk, code: int, fault: Fault, body: str = "Hello") -> Reply:
    (reply,) = await desk.answer(1, body)
    await desk.send(reply)
    await fail(desk, reply, code, fault)
    return reply


async def fail(desk: Desk, reply: Reply, code: int, fault: Fault) -> None:
    sid = (await desk.now_of(reply)).provider_message_id
    update = report(DeliveryStatus.UNDELIVERED, reply_id=reply.id, sid=sid or "", code=code)
    update = update.model_copy(update={"fault": fault})
    await handler_of(desk).handle(await reports(update, update))


async def take(desk: Desk) -> None:
    claim = await stage.claim_of(desk.outbound)
    await desk.sender.handle(claim)
    await desk.outbound.complete(claim)


async def test_a_closed_window_is_answered_by_template_once() -> None:
    desk = await open_desk()
    await desk.store.accounts.save(stage.account(sending=SendingRules(template=TEMPLATE)))
    reply = await failed(desk, 63016, Fault.TEMPLATE_NEEDED)
    await take(desk)
    assert [m.message.template is not None for m in desk.channel.accepted] == [False, True]
    await fail(desk, reply, 63016, Fault.TEMPLATE_NEEDED)
    assert await desk.status(reply) is S.FAILED
    assert len(desk.channel.accepted) == 2


async def test_the_account_that_only_a_messaging_service_tells_from_another() -> None:
    """Two owners share an account at the provider, each with a messaging service."""
    desk = await open_desk()
    mine = {"phone_numbers": (), "messaging_service_sid": "MG-mine"}
    await desk.store.accounts.save(stage.account(sending=SendingRules(template=TEMPLATE), **mine))
    await desk.store.owners.save(stage.owner().model_copy(update={"id": "another"}))
    theirs = {"phone_numbers": (), "messaging_service_sid": "MG-theirs"}
    await desk.store.accounts.save(stage.account(id="a-another", owner_id="another", **theirs))
    await failed(desk, 63016, Fault.TEMPLATE_NEEDED)
    await take(desk)
    sent = [accepted.message for accepted in desk.channel.accepted]
    assert [message.template is not None for message in sent] == [False, True]
    assert {message.messaging_service_id for message in sent} == {"MG-mine"}


async def test_a_closed_window_without_template_stays_visible() -> None:
    desk = await open_desk()
    reply = await failed(desk, 63016, Fault.TEMPLATE_NEEDED)
    now = await desk.now_of(reply)
    assert (now.status, now.error_code) == (S.FAILED, 63016)


@pytest.mark.parametrize("fault", [Fault.DEFER, Fault.RETRY, Fault.SLOW_DOWN])
async def test_what_passes_is_tried_once_more_when_it_is_due(fault: Fault) -> None:
    desk = await open_desk()
    reply = await failed(desk, 30008, fault)
    assert await desk.status(reply) is S.PENDING
    assert bool(desk.rates.slowed) is (fault is Fault.SLOW_DOWN)
    assert await desk.store.replies.unsent(older_than_s=0, limit=10) == []
    desk.clock.advance(7_200)
    assert [r.id for r in await desk.store.replies.unsent(older_than_s=0, limit=10)] == [reply.id]
    # As the sweeper does.
    await desk.outbound.publish(reply_job(reply, suffix=":1"))
    await take(desk)
    assert desk.arrived == ["Hello", "Hello"]
    await fail(desk, reply, 30008, fault)
    assert await desk.status(reply) is S.FAILED


async def test_what_is_final_is_not_tried_again() -> None:
    desk = await open_desk()
    reply = await failed(desk, 30005, Fault.FINAL)
    assert await desk.status(reply) is S.FAILED


async def test_a_reply_that_a_later_one_has_overtaken_is_not_sent_late() -> None:
    desk = await open_desk()
    first, second = await desk.answer(1, "one", "two")
    await desk.send(first, second)
    await fail(desk, first, 30008, Fault.DEFER)
    assert await desk.status(first) is S.FAILED


@pytest.mark.parametrize(("fault", "pause"), [(Fault.SLOW_DOWN, 7.0), (Fault.HOLD, 300.0)])
async def test_a_sender_that_is_refused_waits_without_giving_anything_up(
    fault: Fault, pause: float
) -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    claim = await desk.claim(reply)
    for _ in range(30):
        desk.channel.fail_next(SendDeferredError("429", retry_after=7, fault=fault))
        with pytest.raises(SnoozeError) as caught:
            await desk.sender.handle(claim)
        assert caught.value.delay_s >= pause
        with pytest.raises(SnoozeError):
            await desk.sender.handle(claim)
        desk.clock.advance(400)
    assert len(desk.channel.attempts) == 30
    await desk.sender.handle(claim)
    assert desk.arrived == ["Hello"]


async def test_the_rate_of_the_account_keeps_order() -> None:
    desk = await open_desk()
    rules = SendingRules(recipient_per_second=0.5, recipient_burst=1)
    await desk.store.accounts.save(stage.account(sending=rules))
    replies = await desk.answer(1, "one", "two")
    claim = await desk.claim(*replies)
    with pytest.raises(SnoozeError) as caught:
        await desk.sender.handle(claim)
    assert caught.value.delay_s == pytest.approx(2.0)
    assert desk.arrived == ["one"]
    desk.clock.advance(2)
    await desk.sender.handle(claim)
    assert desk.arrived == ["one", "two"]
