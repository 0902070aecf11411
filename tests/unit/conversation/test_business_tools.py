"""The shipped tools, over an owner's facts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from models.errors import ToolError
from models.inference import ToolCall
from serve_app.conversation.business_tools import business_tools
from serve_app.testing.store import MemoryStore
from tests.unit.conversation import stage
from tests.unit.conversation.toolbox import context

LISBON = ZoneInfo("Europe/Lisbon")


async def call(name: str, _context: Any = None, **arguments: object) -> dict[str, object]:
    tool = business_tools(MemoryStore().owners).get(name)
    assert tool is not None
    return dict(await tool.call(_context or context(), arguments))


async def test_hours_of_a_weekday() -> None:
    assert await call("opening_hours", day="monday") == {
        "day": "monday",
        "open": "08:00",
        "close": "18:00",
    }


async def test_a_closed_day_and_a_day_that_is_not_told() -> None:
    assert await call("opening_hours", day="sunday") == {"day": "sunday", "closed": True}
    with pytest.raises(ToolError, match="aren't known"):
        await call("opening_hours", day="friday")
    with pytest.raises(ToolError, match="day"):
        await call("opening_hours", day="someday")


@pytest.mark.parametrize(
    ("moment", "today", "tomorrow"),
    [
        # 2026-03-02 is a Monday; the context's `now` is in the owner's time zone.
        (datetime(2026, 3, 1, 23, 59, tzinfo=LISBON), {"closed": True}, {"open": "08:00"}),
        (datetime(2026, 3, 2, 0, 0, tzinfo=LISBON), {"open": "08:00"}, {"open": "09:00"}),
        (datetime(2026, 3, 2, 23, 59, tzinfo=LISBON), {"open": "08:00"}, {"open": "09:00"}),
        # The night in which the clocks go forward: the Saturday before has no hours told.
        (datetime(2026, 3, 29, 23, 30, tzinfo=LISBON), {"closed": True}, {"open": "08:00"}),
    ],
)
async def test_today_and_tomorrow_are_the_owners(
    moment: datetime, today: dict[str, object], tomorrow: dict[str, object]
) -> None:
    assert today.items() <= (await call("opening_hours", context(now=moment), day="today")).items()
    assert (
        tomorrow.items()
        <= (await call("opening_hours", context(now=moment), day="tomorrow")).items()
    )


async def test_the_turn_gives_tools_the_owners_time() -> None:
    """A quarter past eleven in the evening UTC in summer is past midnight in Lisbon."""
    ask = ToolCall(id="x", name="opening_hours", arguments={"day": "today"})
    on = await stage.build_stage([ask, "We open at nine."])
    late = datetime(2026, 7, 6, 23, 15, tzinfo=UTC)
    on.clock.advance((late - stage.NOON).total_seconds())
    await on.turn(stage.message(1, "Are you open?", received_at=on.clock.now()))
    result = next(m for m in on.chat.requests[-1].messages if m.role == "tool")
    # Monday 6 July in UTC, already Tuesday where the café is.
    assert '"open": "09:00"' in result.content


@pytest.mark.parametrize(
    ("item", "price"),
    [
        ("cake", "4.20"),
        ("Cake", "4.20"),
        (" cakes ", "4.20"),
        ("cheesecakes", "4.50"),
        ("tea", "2.80"),
        ("teas", "2.80"),
        ("salad", "7.80"),
    ],
)
async def test_items_are_found(item: str, price: str) -> None:
    assert await call("menu", item=item) == {"item": item, "price": price}


@pytest.mark.parametrize("item", ["green", "pizza", "s", "", "eese"])
async def test_what_is_ambiguous_or_absent_is_not_guessed(item: str) -> None:
    assert await call("menu", item=item) == {"item": item, "error": "not on the menu"}


async def test_categories() -> None:
    assert await call("menu", category="Cakes") == {
        "category": "cakes",
        "items": "cake 4.20, cheesecake 4.50",
    }
    everything = await call("menu")
    assert everything["category"] == "all"
    assert str(everything["items"]).count(",") == 3
    assert "error" in await call("menu", category="wine")


async def test_info_and_an_unknown_topic() -> None:
    assert (await call("business_info", topic="address"))["text"] == "27 Garden Lane"
    with pytest.raises(ToolError, match="wifi"):
        await call("business_info", topic="wifi")


@pytest.mark.parametrize("facts", [{}, {"menu": "tea"}, {"opening_hours": []}])
async def test_missing_and_misshapen_facts_are_explained(facts: dict[str, object]) -> None:
    nothing = context(of=stage.owner(facts=facts))
    with pytest.raises(ToolError, match="hasn't told its menu"):
        await call("menu", nothing)
    with pytest.raises(ToolError, match="hasn't told its opening hours"):
        await call("opening_hours", nothing, day="monday")


async def test_a_booking_asked_for_twice_is_one_booking() -> None:
    store = MemoryStore()
    await store.owners.save(stage.owner())
    book = business_tools(store.owners).get("book_table")
    assert book is not None
    wish = {"people": 4, "day": "tomorrow", "time": "19:30"}
    first = await book.call(context(call_id="call-0-0"), wish)
    again = await book.call(context(call_id="call-2-0"), wish)
    other = await book.call(context(), {**wish, "people": 5})
    assert first == again
    assert first["status"] == "requested"
    assert other["reference"] != first["reference"]
    assert len(store.tables.bookings) == 2


@pytest.mark.parametrize(
    "wrong",
    [{"people": 0}, {"people": 501}, {"time": "24:00"}, {"time": "7 pm"}, {"day": "2026-03-02"}],
)
async def test_bookings_that_make_no_sense_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ToolError, match=next(iter(wrong))):
        await call("book_table", **{"people": 2, "day": "monday", "time": "12:00", **wrong})
