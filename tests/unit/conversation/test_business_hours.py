"""When a business is open."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from models.accounts import Assistant
from serve_app.conversation.business_hours import is_open

HOURS = {"monday": ("09:00", "17:00"), "friday": ("18:00", "02:00"), "sunday": None}


def at(text: str) -> datetime:
    """A time in the week of Monday, 2 March 2026."""
    return datetime.fromisoformat(f"2026-03-{text}").replace(tzinfo=ZoneInfo("Europe/Madrid"))


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("02T08:59", False),
        ("02T09:00", True),
        ("02T16:59", True),
        ("02T17:00", False),
        ("03T12:00", True),  # nothing is known of Tuesday
        ("06T17:59", False),
        ("06T23:30", True),
        ("07T01:59", True),  # until two in the night after Friday; nothing is known of Saturday
        ("08T12:00", False),
    ],
)
def test_hours(moment: str, expected: bool) -> None:
    assert is_open(Assistant(business_hours=HOURS), at(moment)) == expected
    told = {day: list(span) if span else None for day, span in HOURS.items()}
    assert is_open(Assistant(facts={"opening_hours": told}), at(moment)) == expected


def test_a_closed_day_is_still_open_until_the_night_before_ends() -> None:
    hours = {"friday": ("18:00", "02:00"), "saturday": None}
    assert is_open(Assistant(business_hours=hours), at("07T01:00"))
    assert not is_open(Assistant(business_hours=hours), at("07T02:00"))


def test_without_hours_it_is_always_open() -> None:
    assert is_open(Assistant(), at("08T03:00"))


def test_own_hours_come_before_the_facts() -> None:
    facts = {"opening_hours": {"sunday": ["10:00", "14:00"]}}
    assistant = Assistant(facts=facts, business_hours={"sunday": None})
    assert not is_open(assistant, at("08T12:00"))
