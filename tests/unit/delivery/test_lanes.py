"""Which rate a reply is sent at."""

from __future__ import annotations

import pytest

from models.accounts import SendingRules
from serve_app.delivery.lanes import lane_of
from serve_app.settings import SenderSettings
from tests.unit.conversation.stage import account
from tests.unit.delivery.desk import open_desk

SETTINGS = SenderSettings(whatsapp_per_second=80, sms_per_second=10)


@pytest.mark.parametrize(
    ("sender", "recipient", "per_second"),
    [
        ("whatsapp:+15550001111", "whatsapp:+15552220001", 80),
        ("+15550001111", "+15552220001", 10),
        ("12345", "+15552220001", 10),
        ("106540352242922", "15552220001", 80),
    ],
    ids=["WhatsApp", "SMS", "short code", "Cloud API"],
)
async def test_sms_is_told_by_who_gets_it(sender: str, recipient: str, per_second: float) -> None:
    (reply,) = await (await open_desk()).answer(1, "Hello")
    reply = reply.model_copy(update={"sender": sender, "recipient": recipient})
    assert lane_of(reply, account(), SETTINGS).per_second == per_second
    rules = account(sending=SendingRules(per_second=3.0))
    lane = lane_of(reply, rules, SETTINGS)
    assert (lane.per_second, lane.burst, lane.sender) == (3.0, 3, sender)
