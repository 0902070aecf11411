"""What a delivery report makes of a reply."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import permutations

import pytest

from models.conversations import Reply, ReplyStatus
from models.messages import DeliveryStatus, StatusUpdate
from serve_app.store.reply_states import CAME_FROM, after_report

D = DeliveryStatus
S = ReplyStatus


def _reply(**fields: object) -> Reply:
    return Reply(
        **{
            "id": "r1",
            "turn_id": "t1",
            "conversation_id": "c1",
            "conversation_key": "k",
            "account_id": "a1",
            "channel": "whatsapp",
            "account_sid": "AC1",
            "sender": "whatsapp:+1",
            "recipient": "whatsapp:+2",
            "position": 0,
            "body": "hi",
            "status": S.SENDING,
            **fields,
        }
    )


def _report(status: DeliveryStatus, *, message_id: str = "SM1", code: int | None = None):
    return StatusUpdate(
        channel="whatsapp",
        account_id="AC1",
        message_id=message_id,
        status=status,
        error_code=code,
        received_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_any_order_ends_at_the_furthest() -> None:
    for order in permutations([D.QUEUED, D.SENT, D.DELIVERED, D.READ]):
        reply = _reply()
        for status in order:
            reply = after_report(reply, _report(status)) or reply
        assert (reply.status, reply.delivery) == (S.SENT, D.READ)


@pytest.mark.parametrize("failure", [D.FAILED, D.UNDELIVERED, D.CANCELED])
def test_failure_shows_its_code(failure: DeliveryStatus) -> None:
    sent = _reply(status=S.SENT, provider_message_id="SM1", delivery=D.SENT)

    failed = after_report(sent, _report(failure, code=63016))

    assert failed is not None
    assert (failed.status, failed.delivery, failed.error_code) == (S.FAILED, failure, 63016)
    assert after_report(failed, _report(D.SENT)) is None


def test_delivered_after_all() -> None:
    failed = _reply(status=S.FAILED, delivery=D.UNDELIVERED, error_code=30003)

    delivered = after_report(failed, _report(D.DELIVERED))

    assert delivered is not None
    assert (delivered.status, delivered.error_code) == (S.SENT, None)


@pytest.mark.parametrize("status", [S.PENDING, S.SENDING, S.UNKNOWN, S.PARKED, S.FAILED])
def test_a_report_settles_every_doubt(status: ReplyStatus) -> None:
    reply = after_report(_reply(status=status, error_message="in doubt"), _report(D.QUEUED))

    assert reply is not None
    assert (reply.status, reply.provider_message_id) == (S.SENT, "SM1")
    assert reply.error_message is None


def test_report_of_another_message() -> None:
    reply = _reply(status=S.SENT, provider_message_id="SM1", delivery=D.SENT)
    assert after_report(reply, _report(D.READ, message_id="SM2")) is None


def test_nothing_leaves_a_final_state() -> None:
    final = {S.SENT, S.FAILED, S.CANCELED}
    assert not any(origins & final for origins in CAME_FROM.values())
    # A parked one may still turn out to have been sent.
    assert [to for to, origins in CAME_FROM.items() if S.PARKED in origins] == [S.SENT]
    assert set(CAME_FROM) == set(S)
