"""Delivery reports change replies, in whatever order they come."""

from __future__ import annotations

import itertools

import pytest
from structlog.typing import EventDict

from models.conversations import NewNote, Reply, ReplyStatus, TurnOutcome
from models.errors import StoreUnavailableError, UnprocessableError
from models.jobs import Claim, NewJob
from models.messages import DeliveryStatus, Fault, StatusUpdate
from serve_app.api.consent_intake import consent_job
from serve_app.conversation.reply_parts import reply_job
from serve_app.delivery.aftermath import FailedDeliveries
from serve_app.delivery.publisher import ReplyPublisher
from serve_app.delivery.status import StatusHandler
from serve_app.settings import SenderSettings
from serve_app.testing.queue import MemoryQueue
from tests.unit.conversation import stage
from tests.unit.delivery.desk import Desk, open_desk

D = DeliveryStatus


async def reports(*updates: StatusUpdate | str) -> Claim:
    queue = MemoryQueue(name="status")
    for number, update in enumerate(updates):
        payload = update if isinstance(update, str) else update.model_dump_json()
        await queue.publish(NewJob(id=str(number), conversation="c", payload=payload))
    return await stage.claim_of(queue)


def report(
    status: DeliveryStatus, *, reply_id: str | None = None, sid: str = "", code: int | None = None
) -> StatusUpdate:
    return StatusUpdate(
        channel="twilio",
        account_id=stage.ACCOUNT_SID,
        message_id=sid,
        status=status,
        reply_id=reply_id,
        error_code=code,
        received_at=stage.NOON,
    )


def handler_of(desk: Desk) -> StatusHandler:
    def job(reply: Reply, suffix: str) -> NewJob:
        return reply_job(reply, suffix=suffix)

    return StatusHandler(
        replies=desk.store.replies,
        consents=desk.store.consents,
        notes=desk.store.notes,
        failed=FailedDeliveries(
            replies=desk.store.replies,
            accounts=desk.store.accounts,
            consents=desk.store.consents,
            rates=desk.rates,
            publisher=ReplyPublisher(outbound=desk.outbound, reply_job=job),
            clock=desk.clock,
            settings=SenderSettings(),
        ),
    )


async def sent(desk: Desk) -> tuple[str, str]:
    """A reply that was sent: our id and the provider's."""
    (reply,) = await desk.answer(1, "Hello")
    await desk.send(reply)
    return reply.id, desk.channel.accepted[0].sent.message_id


@pytest.mark.parametrize("order", list(itertools.permutations((D.SENT, D.DELIVERED, D.READ))))
async def test_any_order_ends_the_same(order: tuple[DeliveryStatus, ...]) -> None:
    desk = await open_desk()
    reply_id, sid = await sent(desk)
    claim = await reports(*(report(status, sid=sid) for status in (*order, *order)))
    await handler_of(desk).handle(claim)
    reply = await desk.store.replies.get(reply_id)
    assert reply is not None
    assert (reply.status, reply.delivery) == (ReplyStatus.SENT, D.READ)


async def test_a_failure_at_the_providers_is_on_record() -> None:
    desk = await open_desk()
    reply_id, sid = await sent(desk)
    claim = await reports(report(D.UNDELIVERED, reply_id=reply_id, sid=sid, code=63016))
    await handler_of(desk).handle(claim)
    reply = await desk.store.replies.get(reply_id)
    assert reply is not None
    assert (reply.status, reply.error_code) == (ReplyStatus.FAILED, 63016)


async def test_a_report_about_nothing_of_ours_is_no_error() -> None:
    desk = await open_desk()
    claim = await reports(report(D.SENT, reply_id="gone", sid="SMx"))
    await handler_of(desk).handle(claim)
    assert desk.store.tables.replies == {}


async def test_a_job_that_holds_no_report() -> None:
    desk = await open_desk()
    handler = handler_of(desk)
    with pytest.raises(UnprocessableError, match="job 0"):
        await handler.handle(await reports("MessageStatus=sent"))


async def test_a_store_that_is_away_is_left_to_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = await open_desk()

    async def away(update: StatusUpdate) -> bool:
        raise StoreUnavailableError("restarting")

    monkeypatch.setattr(desk.store.replies, "apply_status", away)
    with pytest.raises(StoreUnavailableError):
        await handler_of(desk).handle(await reports(report(D.SENT)))


async def test_a_report_that_the_contact_has_opted_out_is_taken_down() -> None:
    desk = await open_desk()
    reply_id, sid = await sent(desk)
    refused = report(D.UNDELIVERED, reply_id=reply_id, sid=sid, code=21610)
    await handler_of(desk).handle(
        await reports(refused.model_copy(update={"fault": Fault.OPTED_OUT}))
    )
    (later,) = await desk.answer(2, "Still there?")
    await desk.send(later)
    assert await desk.status(later) is ReplyStatus.CANCELED


async def test_an_opt_out_that_could_not_be_taken_down_at_the_door() -> None:
    desk = await open_desk()
    (reply,) = await desk.answer(1, "Hello")
    stop = stage.message(2, "Stop!")
    queue = MemoryQueue(name="status")
    await queue.publish(consent_job(stop))
    await handler_of(desk).handle(await stage.claim_of(queue))
    await desk.send(reply)
    assert desk.arrived == []


async def test_a_note_that_was_accepted_and_not_delivered_says_so(logs: list[EventDict]) -> None:
    desk = await open_desk()
    inbound = stage.message(1)
    conversation, _ = await desk.store.conversations.record(
        [inbound], owner_id="owner-1", account=stage.account()
    )
    note = NewNote(id="note-1", destination="message", target="+15559990000", content={})
    await desk.store.conversations.commit_turn(
        TurnOutcome(
            turn_id="turn-1",
            conversation_id=conversation.id,
            owner_id="owner-1",
            message_ids=(inbound.job_id,),
            replies=(),
            hand_over=True,
            notes=(note,),
        )
    )
    await desk.store.notes.settle("note-1")
    await handler_of(desk).handle(
        await reports(
            report(DeliveryStatus.SENT, reply_id="note-1", sid="SMn"),
            report(DeliveryStatus.UNDELIVERED, reply_id="note-1", sid="SMn", code=63016),
        )
    )
    assert desk.store.tables.notes["note-1"].error == "not delivered: 63016"
    assert [line["note"] for line in logs if line["event"] == "note_not_delivered"] == ["note-1"]
