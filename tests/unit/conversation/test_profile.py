"""What a contact's number tells."""

from __future__ import annotations

import pytest

from serve_app.conversation.hand_over_rule import matching_keyword
from serve_app.conversation.profile import likely_timezone
from tests.unit.conversation import stage


@pytest.mark.parametrize(
    ("address", "near", "expected"),
    [
        ("whatsapp:+5511999990042", "UTC", "America/Sao_Paulo"),
        ("+12125551234", "Europe/Lisbon", "America/New_York"),
        ("+34600000001", "Europe/Madrid", "Europe/Madrid"),
        ("+34600000001", "Europe/Paris", "Europe/Madrid"),
        ("+351910000000", "Asia/Tokyo", None),
        ("+15552223333", "UTC", None),
        ("whatsapp:US.abcdef0123", "UTC", None),
        ("12345", "UTC", None),
        ("12345678", "UTC", None),
        ("5511999990042", "UTC", "America/Sao_Paulo"),
        ("34600000001", "Europe/Paris", "Europe/Madrid"),
        ("+1", "UTC", None),
        ("+34600000001", "Mars/Olympus", None),
    ],
)
def test_time_zones(address: str, near: str, expected: str | None) -> None:
    assert likely_timezone(address, near=near, now=stage.NOON) == expected


async def test_the_profile_follows_what_contacts_send() -> None:
    on = await stage.build_stage(["Hi", "Hi", "Oi"], heard="um café")
    lisbon = {"sender": "whatsapp:+5511999990042", "contact_key": "whatsapp:+5511999990042"}
    await on.turn(stage.message(1, "Hi", profile_name="Ana", **lisbon))
    assert on.conversation.contact.profile_name == "Ana"
    assert on.conversation.contact.timezone == "America/Sao_Paulo"
    assert on.conversation.contact.language is None
    await on.turn(stage.message(2, "Hi", **lisbon))
    assert on.conversation.contact.profile_name == "Ana"
    await on.turn(
        stage.message(3, "", voice=on.record_voice(b"ogg"), profile_name="Ana Lima", **lisbon)
    )
    assert on.conversation.contact.profile_name == "Ana Lima"
    assert on.conversation.contact.language == "en"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I want a HUMAN, now", "human"),
        ("humane treatment", None),
        ("quiero hablar con una persona", "una persona"),
        ("Atenção: FALAR com atendente!", "falar com  atendente"),
        ("", None),
    ],
)
def test_keywords(text: str, expected: str | None) -> None:
    keywords = ["", "human", "una persona", "falar com  atendente"]
    assert matching_keyword([text], keywords) == expected
