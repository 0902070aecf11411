"""Each state in which a reply may be found, and what the sender does about it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from models.accounts import ReplyTemplate, SendingRules
from models.conversations import Reply, ReplyStatus
from models.errors import (
    ListUnavailableError,
    RetryableError,
    SendDeferredError,
    SendRejectedError,
    SendUnknownError,
    SnoozeError,
    StoreUnavailableError,
)
from models.jobs import DeadReason, NewJob
from models.messages import DeliveryStatus, Fault, StatusUpdate
from tests.unit.conversation import stage
from tests.unit.delivery.desk import SEND_IS_OVER_S, WAIT_S, Desk, ago, open_desk

S = ReplyStatus


async def one(desk: Desk, body: str = "Hello") -> Any:
    (reply,) = await desk.answer(1, body)
    return reply


# --- pending --------------------------------------------------------------------------------------


async def test_a_pending_reply_is_sent() -> None:
    desk = await open_desk()
    reply = await one(desk)
    await desk.send(reply)
    now = await desk.now_of(reply)
    assert (now.status, now.delivery) == (S.SENT, DeliveryStatus.QUEUED)
    (sent,) = desk.channel.accepted
    assert now.provider_message_id == sent.sent.message_id
    assert (sent.message.reply_id, sent.message.sender) == (reply.id, stage.BUSINESS)
    assert sent.message.recipient == stage.CONTACT


async def test_sending_is_on_record_before_the_provider_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = await open_desk()
    reply = await one(desk)
    seen: list[ReplyStatus] = []
    send = desk.channel.send

    async def look(message: Any, account: Any) -> Any:
        seen.append(await desk.status(reply))
        return await send(message, account)

    monkeypatch.setattr(desk.channel, "send", look)
    await desk.send(reply)
    assert seen == [S.SENDING]


async def test_a_deferred_reply_is_pending_again_and_keeps_the_providers_wish() -> None:
    desk = await open_desk()
    reply = await one(desk)
    desk.channel.fail_next(SendDeferredError("429", retry_after=7, code=20429))
    claim = await desk.claim(reply)
    with pytest.raises(SendDeferredError) as caught:
        await desk.sender.handle(claim)
    assert caught.value.retry_after == 7
    assert await desk.status(reply) is S.PENDING
    await desk.sender.handle(claim)
    assert desk.arrived == ["Hello"]


async def test_a_rejected_reply_is_final() -> None:
    desk = await open_desk()
    reply = await one(desk)
    desk.channel.fail_next(SendRejectedError("not a number", code=21211))
    await desk.send(reply)
    now = await desk.now_of(reply)
    assert (now.status, now.error_code, now.error_message) == (S.FAILED, 21211, "not a number")
    assert desk.arrived == []


async def test_a_reply_without_an_account_fails_for_good() -> None:
    desk = await open_desk()
    reply = await one(desk)
    desk.store.tables.accounts.clear()
    await desk.send(reply)
    now = await desk.now_of(reply)
    assert now.status is S.FAILED
    assert stage.ACCOUNT_SID in (now.error_message or "")


async def test_a_number_taken_off_the_account_can_still_answer() -> None:
    desk = await open_desk()
    reply = await one(desk)
    await desk.store.accounts.save(stage.account(phone_numbers=()))
    await desk.send(reply)
    assert desk.arrived == ["Hello"]


async def test_two_senders_at_once_send_once(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk()
    claim = await desk.claim(await one(desk))
    both_looked = asyncio.Barrier(2)
    get = desk.store.replies.get

    async def look(reply_id: str) -> Any:
        reply = await get(reply_id)
        if reply is not None and reply.status is S.PENDING:
            await both_looked.wait()
        return reply

    monkeypatch.setattr(desk.store.replies, "get", look)
    results = await asyncio.gather(
        desk.sender.handle(claim), desk.sender.handle(claim), return_exceptions=True
    )
    assert sorted(type(r).__name__ for r in results) == ["NoneType", "SnoozeError"]
    assert desk.arrived == ["Hello"]


# --- in doubt -------------------------------------------------------------------------------------


async def in_doubt(desk: Desk, *, accepted: bool, body: str = "Hello") -> tuple[Any, Any]:
    """The provider gave no clear answer; returns the reply and the claim, still to be settled."""
    reply = await one(desk, body)
    desk.channel.fail_next(SendUnknownError("read timeout"), accepted=accepted)
    claim = await desk.claim(reply)
    with pytest.raises(SnoozeError) as caught:
        await desk.sender.handle(claim)
    assert caught.value.delay_s == WAIT_S
    assert await desk.status(reply) is S.UNKNOWN
    return reply, claim


async def test_a_sender_frozen_before_its_post_leaves_the_reply_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody else may have taken over meanwhile and sent it."""
    desk = await open_desk()
    reply = await one(desk)
    mark = desk.store.replies.mark_sending

    async def frozen(reply_id: str, **kwargs: Any) -> Any:
        marked = await mark(reply_id, **kwargs)
        desk.clock.advance(60)
        return marked

    monkeypatch.setattr(desk.store.replies, "mark_sending", frozen)
    claim = await desk.claim(reply)
    with pytest.raises(SnoozeError, match="stood still"):
        await desk.sender.handle(claim)
    assert (desk.arrived, await desk.status(reply)) == ([], S.SENDING)
    monkeypatch.undo()
    desk.clock.advance(60)
    await desk.sender.handle(claim)
    assert (len(desk.arrived), await desk.status(reply)) == (1, S.SENT)


async def test_in_doubt_and_too_early_waits_for_the_report() -> None:
    desk = await open_desk()
    _, claim = await in_doubt(desk, accepted=False)
    desk.clock.advance(4)
    desk.channel.list_error = RetryableError("must not be asked yet")
    with pytest.raises(SnoozeError) as caught:
        await desk.sender.handle(claim)
    assert caught.value.delay_s == pytest.approx(WAIT_S - 4)
    assert len(desk.channel.attempts) == 1


async def test_in_doubt_and_listed_was_sent() -> None:
    desk = await open_desk()
    reply, claim = await in_doubt(desk, accepted=True)
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    now = await desk.now_of(reply)
    assert now.status is S.SENT
    assert now.provider_message_id == desk.channel.accepted[0].sent.message_id
    assert len(desk.channel.attempts) == 1


async def test_in_doubt_and_absent_is_sent_again() -> None:
    desk = await open_desk()
    reply, claim = await in_doubt(desk, accepted=False)
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    assert await desk.status(reply) is S.SENT
    assert desk.arrived == ["Hello"]
    assert len(desk.channel.attempts) == 2


async def test_in_doubt_and_absent_is_parked_where_that_is_wished() -> None:
    desk = await open_desk(resend_when_absent=False)
    reply, claim = await in_doubt(desk, accepted=False)
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    now = await desk.now_of(reply)
    assert now.status is S.PARKED
    assert "doesn't hold it" in (now.error_message or "")
    await desk.sender.handle(claim)
    assert len(desk.channel.attempts) == 1


async def test_a_report_settles_the_doubt_before_the_list_is_asked() -> None:
    desk = await open_desk()
    reply, claim = await in_doubt(desk, accepted=True)
    await desk.store.replies.apply_status(report(reply.id, "SM9", DeliveryStatus.DELIVERED))
    desk.channel.list_error = RetryableError("must not be asked")
    await desk.sender.handle(claim)
    now = await desk.now_of(reply)
    assert (now.status, now.provider_message_id) == (S.SENT, "SM9")
    assert len(desk.channel.attempts) == 1


async def test_a_report_that_overtakes_the_answer_is_not_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The provider reports delivery while its answer to the send is lost on the way."""
    desk = await open_desk()
    reply = await one(desk)
    send = desk.channel.send

    async def lose_the_answer(message: Any, account: Any) -> Any:
        sent = await send(message, account)
        await desk.store.replies.apply_status(
            report(reply.id, sent.message_id, DeliveryStatus.DELIVERED)
        )
        raise SendUnknownError("read timeout")

    monkeypatch.setattr(desk.channel, "send", lose_the_answer)
    claim = await desk.claim(reply)
    with pytest.raises(SnoozeError):
        await desk.sender.handle(claim)
    assert await desk.status(reply) is S.SENT
    await desk.sender.handle(claim)
    assert desk.arrived == ["Hello"]


async def test_the_list_being_away_counts_as_a_failure_and_never_as_absence() -> None:
    desk = await open_desk()
    reply, claim = await in_doubt(desk, accepted=True)
    desk.clock.advance(WAIT_S)
    desk.channel.list_error = RetryableError("503")
    for _ in range(3):
        with pytest.raises(RetryableError, match="503"):
            await desk.sender.handle(claim)
    assert await desk.status(reply) is S.UNKNOWN
    assert desk.arrived == ["Hello"]


async def test_a_list_that_stays_away_parks_the_reply() -> None:
    desk = await open_desk(resolve_attempts=3)
    reply = await one(desk)
    await desk.crash_after_the_post(reply)
    desk.clock.advance(WAIT_S)
    desk.channel.list_error = ListUnavailableError("503")
    await desk.publish(reply)
    # Other failures of the same job don't count as looks.
    claim = await stage.claim_of(desk.outbound)
    await desk.outbound.retry(claim, SendDeferredError("429"))
    for _ in range(2):
        desk.clock.advance(600)
        claim = await stage.claim_of(desk.outbound)
        with pytest.raises(ListUnavailableError) as caught:
            await desk.sender.handle(claim)
        await desk.outbound.retry(claim, caught.value)
    desk.clock.advance(600)
    claim = await stage.claim_of(desk.outbound)
    await desk.sender.handle(claim)
    now = await desk.now_of(reply)
    assert now.status is S.PARKED
    assert now.error_message is not None
    assert "503" in now.error_message
    assert now.sending_since is not None
    assert desk.arrived == ["Hello"]


@pytest.mark.parametrize(("after_the_post", "attempts"), [(True, 0), (False, 1)])
async def test_a_crash_while_sending(after_the_post: bool, attempts: int) -> None:
    desk = await open_desk()
    reply = await one(desk)
    await (desk.crash_after_the_post if after_the_post else desk.crash_before_the_post)(reply)
    claim = await desk.claim(reply)
    desk.clock.advance(3)
    with pytest.raises(SnoozeError) as caught:
        await desk.sender.handle(claim)
    assert caught.value.delay_s == pytest.approx(WAIT_S - 3)
    assert await desk.status(reply) is S.SENDING
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    assert await desk.status(reply) is S.SENT
    assert desk.arrived == ["Hello"]
    assert len(desk.channel.attempts) == attempts


async def test_a_sender_that_is_slow_and_not_dead_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its lease ran out and another took over: whatever the lease, that one looks when the send is over."""
    desk = await open_desk(resolve_after_s=1.0)
    reply = await one(desk)
    claim = await desk.claim(reply)
    send = desk.channel.send

    async def late(message: Any, account: Any) -> Any:
        monkeypatch.setattr(desk.channel, "send", send)
        desk.clock.advance(SEND_IS_OVER_S - 0.1)
        with pytest.raises(SnoozeError) as caught:
            await desk.sender.handle(claim)
        assert caught.value.delay_s == pytest.approx(0.1)
        return await send(message, account)

    monkeypatch.setattr(desk.channel, "send", late)
    await desk.sender.handle(claim)
    desk.clock.advance(0.1)
    await desk.sender.handle(claim)
    assert (desk.arrived, await desk.status(reply)) == (["Hello"], S.SENT)


async def test_a_send_that_takes_too_long_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk()
    reply = await one(desk)
    claim = await desk.claim(reply)

    async def hang(message: Any, account: Any) -> Any:
        await asyncio.sleep(60)

    monkeypatch.setattr(desk.channel, "send", hang)
    monkeypatch.setattr(desk.sender, "_send_limits_s", {desk.channel.name: 0.02})
    with pytest.raises(SnoozeError, match="no answer within"):
        await desk.sender.handle(claim)
    assert await desk.status(reply) is S.UNKNOWN


async def test_a_send_cut_off_in_the_middle_is_in_doubt(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk()
    reply = await one(desk)
    claim = await desk.claim(reply)
    send, posted = desk.channel.send, asyncio.Event()

    async def hang(message: Any, account: Any) -> Any:
        await send(message, account)
        posted.set()
        await asyncio.sleep(60)

    monkeypatch.setattr(desk.channel, "send", hang)
    task = asyncio.create_task(desk.sender.handle(claim))
    await posted.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await desk.status(reply) is S.SENDING
    monkeypatch.setattr(desk.channel, "send", send)
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    assert desk.arrived == ["Hello"]


async def test_a_store_that_fails_after_the_send_repeats_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = await open_desk()
    reply = await one(desk)
    claim = await desk.claim(reply)

    async def away(*_: Any) -> None:
        raise StoreUnavailableError("restarting")

    with monkeypatch.context() as patched:
        patched.setattr(desk.store.replies, "mark_sent", away)
        with pytest.raises(StoreUnavailableError):
            await desk.sender.handle(claim)
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    assert await desk.status(reply) is S.SENT
    assert desk.arrived == ["Hello"]


# --- whose message the list holds -----------------------------------------------------------------


async def test_the_same_text_of_another_reply_is_not_taken_for_this_one() -> None:
    desk = await open_desk()
    (earlier,) = await desk.answer(1, "Sorry?")
    await desk.send(earlier)
    (later,) = await desk.answer(2, "Sorry?")
    await desk.crash_before_the_post(later)
    desk.clock.advance(WAIT_S)
    await desk.send(later)
    assert desk.arrived == ["Sorry?", "Sorry?"]
    ids = {(await desk.now_of(reply)).provider_message_id for reply in (earlier, later)}
    assert len(ids) == 2


async def test_another_text_and_an_old_message_are_not_taken_for_it() -> None:
    desk = await open_desk()
    reply = await one(desk)
    desk.took("Hello", at=ago(desk.clock.now(), 3600))
    await desk.crash_before_the_post(reply)
    desk.took("Hello there")
    desk.clock.advance(WAIT_S)
    await desk.send(reply)
    assert desk.arrived.count("Hello") == 2
    assert await desk.status(reply) is S.SENT


async def test_a_provider_whose_clock_is_behind() -> None:
    desk = await open_desk()
    reply = await one(desk)
    assert await desk.store.replies.mark_sending(reply.id)
    desk.took("Hello", at=ago(desk.clock.now(), 30))
    desk.clock.advance(WAIT_S)
    await desk.send(reply)
    assert desk.arrived == ["Hello"]


# --- several replies ------------------------------------------------------------------------------


async def test_replies_leave_in_order() -> None:
    desk = await open_desk()
    replies = await desk.answer(1, "one", "two", "three")
    await desk.send(*replies)
    assert desk.arrived == ["one", "two", "three"]


async def test_nothing_overtakes_a_reply_that_waits() -> None:
    desk = await open_desk()
    replies = await desk.answer(1, "one", "two", "three")
    claim = await desk.claim(*replies)
    await desk.sender.handle(claim.model_copy(update={"jobs": claim.jobs[:1]}))
    desk.channel.fail_next(SendDeferredError("429"))
    with pytest.raises(SendDeferredError):
        await desk.sender.handle(claim)
    assert desk.arrived == ["one"]
    desk.channel.fail_next(SendUnknownError("500"), accepted=True)
    with pytest.raises(SnoozeError):
        await desk.sender.handle(claim)
    assert desk.arrived == ["one", "two"]
    desk.clock.advance(WAIT_S)
    await desk.sender.handle(claim)
    assert desk.arrived == ["one", "two", "three"]


async def test_what_is_settled_is_skipped() -> None:
    desk = await open_desk()
    replies = await desk.answer(1, "sent", "failed", "parked", "canceled", "open")
    sent, failed, parked, canceled, _ = replies
    await desk.send(sent)
    repo = desk.store.replies
    await repo.mark_failed(failed.id, code=1, error="x")
    await repo.park(parked.id, error="x")
    await repo.mark_canceled(canceled.id, error="x")
    gone = NewJob(id="gone", conversation=sent.conversation_key, payload="no-such-reply")
    await desk.outbound.publish(gone)
    await desk.send(*replies)
    assert desk.arrived == ["sent", "open"]
    statuses = [await desk.status(reply) for reply in replies]
    assert statuses == [S.SENT, S.FAILED, S.PARKED, S.CANCELED, S.SENT]


# --- the last look --------------------------------------------------------------------------------


async def test_a_reply_that_a_person_has_overtaken_is_canceled_and_the_queue_goes_on() -> None:
    desk = await open_desk()
    (late,) = await desk.answer(1, "Too late")
    conversations = desk.store.conversations
    await desk.publish(late)
    await conversations.set_human(late.conversation_id, human=True)
    await conversations.set_human(late.conversation_id, human=False)
    (next_one,) = await desk.answer(2, "Again at your service")
    await desk.send(next_one)
    assert desk.arrived == ["Again at your service"]
    assert await desk.status(late) is S.CANCELED
    assert len(desk.channel.attempts) == 1


async def test_a_refusal_because_of_an_opt_out_stops_all_that_follows() -> None:
    desk = await open_desk()
    replies = await desk.answer(1, "one", "two")
    desk.channel.fail_next(SendRejectedError("STOP", code=21610, fault=Fault.OPTED_OUT))
    await desk.send(*replies)
    assert [await desk.status(reply) for reply in replies] == [S.FAILED, S.CANCELED]
    assert len(desk.channel.attempts) == 1


# --- given up -------------------------------------------------------------------------------------


async def test_giving_up_parks_what_is_in_doubt() -> None:
    desk = await open_desk()
    reply, claim = await in_doubt(desk, accepted=True)
    letters = await desk.outbound.dead_letter(
        claim, DeadReason.EXHAUSTED, RetryableError("the list is away")
    )
    await desk.sender.on_dead(letters)
    now = await desk.now_of(reply)
    assert (now.status, now.error_message) == (S.PARKED, "the list is away")
    assert await desk.outbound.replay(letters[0].id)
    await desk.send()
    assert desk.arrived == ["Hello"]


async def test_giving_up_leaves_what_was_surely_not_sent_to_a_replay() -> None:
    desk = await open_desk()
    reply = await one(desk)
    desk.channel.fail_next(SendDeferredError("429"))
    claim = await desk.claim(reply)
    with pytest.raises(SendDeferredError) as caught:
        await desk.sender.handle(claim)
    letters = await desk.outbound.dead_letter(claim, DeadReason.EXHAUSTED, caught.value)
    await desk.sender.on_dead(letters)
    assert await desk.status(reply) is S.PENDING
    assert await desk.outbound.replay(letters[0].id)
    await desk.send()
    assert desk.arrived == ["Hello"]


def report(reply_id: str | None, message_id: str, status: DeliveryStatus) -> StatusUpdate:
    return StatusUpdate(
        channel="twilio",
        account_id=stage.ACCOUNT_SID,
        message_id=message_id,
        status=status,
        reply_id=reply_id,
        received_at=stage.NOON,
    )


async def with_buttons(desk: Desk, body: str) -> Reply:
    (reply,) = await desk.answer(1, body)
    stored = desk.store.tables.replies[reply.id]
    stored.reply = reply.model_copy(update={"buttons": ("Yes", "No")})
    return stored.reply


async def test_buttons_go_out_with_the_text() -> None:
    desk = await open_desk()
    reply = await with_buttons(desk, "Shall we?")
    await desk.send(reply)
    assert desk.channel.attempts[0].buttons == ("Yes", "No")


TEMPLATE = ReplyTemplate(content_sid="HX1", variables={"1": "{text}"})


@pytest.mark.parametrize("code", [63016, 131047])
async def test_refused_at_once_for_want_of_a_template_it_goes_out_as_one(code: int) -> None:
    desk = await open_desk()
    await desk.store.accounts.save(stage.account(sending=SendingRules(template=TEMPLATE)))
    first, second = await desk.answer(1, "Part one", "Part two")
    refused = SendRejectedError("window", code=code, fault=Fault.TEMPLATE_NEEDED)
    desk.channel.fail_next(refused)
    await desk.send(first)
    desk.channel.fail_next(refused)
    await desk.send(second)
    (sent,) = [entry.message for entry in desk.channel.accepted]
    assert sent.template is not None
    assert sent.template.variables == {"1": "Part one"}
    assert await desk.status(first) is ReplyStatus.SENT
    assert await desk.status(second) is ReplyStatus.CANCELED, "the template stands for all"


async def test_a_refused_template_and_a_reply_without_one_fail() -> None:
    desk = await open_desk()
    refused = SendRejectedError("window", code=63016, fault=Fault.TEMPLATE_NEEDED)
    (plain,) = await desk.answer(1, "Nothing to be done")
    desk.channel.fail_next(refused)
    await desk.send(plain)
    await desk.store.accounts.save(stage.account(sending=SendingRules(template=TEMPLATE)))
    (twice,) = await desk.answer(2, "Refused twice")
    desk.channel.fail_next(refused)
    desk.channel.fail_next(refused)
    await desk.send(twice)
    assert [await desk.status(each) for each in (plain, twice)] == [ReplyStatus.FAILED] * 2
    assert (await desk.now_of(twice)).error_code == 63016
    assert len(desk.channel.attempts) == 3


async def test_doubtful_buttons_are_found_although_the_list_shows_another_text() -> None:
    """They are in a template, whose text a provider may tell in its own way."""
    desk = await open_desk()
    reply = await with_buttons(desk, "Shall we?")
    await desk.crash_before_the_post(reply)
    sid = desk.took("Shall we? [Yes] [No]")
    desk.clock.advance(WAIT_S + 1)
    await desk.send(reply)
    now = await desk.now_of(reply)
    assert (now.status, now.provider_message_id) == (ReplyStatus.SENT, sid)
    assert desk.channel.attempts == []
