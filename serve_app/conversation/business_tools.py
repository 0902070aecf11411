"""The tools that every installation has. Facts come from the owner's assistant settings:

::

    opening_hours: {monday: ["08:00", "18:00"], sunday: null, ...}
    menu: [{item: espresso, price: "2.20", category: drinks}, ...]
    info: {address: "12 Garden Lane", ...}
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, cast

from pydantic import Field

from models.conversations import BookingRequest
from models.errors import ToolError
from serve_app.conversation.tools import Tool, ToolRegistry
from serve_app.ports import OwnerRepository, ToolContext

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

Day = Literal[
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "today",
    "tomorrow",
]


async def opening_hours(context: ToolContext, day: Day) -> Mapping[str, object]:
    """When the business is open on a day."""
    hours = _mapping(context, "opening_hours")
    weekday = day
    if day in ("today", "tomorrow"):
        moment = context.now + timedelta(days=int(day == "tomorrow"))
        weekday = WEEKDAYS[moment.weekday()]
    if weekday not in hours:
        raise ToolError("the opening hours of that day aren't known")
    span = hours[weekday]
    if not span:
        return {"day": day, "closed": True}
    opens, closes = cast(Sequence[str], span)
    return {"day": day, "open": str(opens), "close": str(closes)}


async def menu(
    context: ToolContext,
    item: Annotated[str | None, Field(description="one thing to look up")] = None,
    category: Annotated[str | None, Field(description="or a category, or `all`")] = None,
) -> Mapping[str, object]:
    """Prices of one item, or what there is in a category."""
    entries = cast(Sequence[Mapping[str, Any]], _fact(context, "menu", list))
    if item is not None:
        found = _find_item(entries, item)
        if found is None:
            return {"item": item, "error": "not on the menu"}
        return {"item": item, "price": str(found["price"])}
    wanted = (category or "all").lower()
    chosen = [e for e in entries if wanted == "all" or str(e.get("category", "")).lower() == wanted]
    if not chosen:
        return {"category": category, "error": "no such category"}
    items = ", ".join(f"{e['item']} {e['price']}" for e in chosen)
    return {"category": wanted, "items": items}


async def business_info(context: ToolContext, topic: str) -> Mapping[str, object]:
    """A fact about the business: address, phone, email, parking, wifi, payment, delivery, …"""
    info = _mapping(context, "info")
    if topic not in info:
        raise ToolError(f"nothing is known about {topic}")
    return {"topic": topic, "text": str(info[topic])}


async def hand_over(context: ToolContext, reason: str = "asked") -> Mapping[str, object]:
    """Ask a person to take over the conversation."""
    return {"status": "ok"}


def business_tools(owners: OwnerRepository) -> ToolRegistry:
    """The registry of the shipped tools."""

    async def book_table(
        context: ToolContext,
        people: Annotated[int, Field(ge=1, le=500)],
        day: Day,
        time: Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="HH:MM")],
    ) -> Mapping[str, object]:
        """Request a table; the business confirms it."""
        reference = await owners.request_booking(
            BookingRequest(
                owner_id=context.owner.id,
                conversation_id=context.conversation.id,
                people=people,
                day=day,
                time=time,
            ),
            key=f"{context.turn_id}:{people}:{day}:{time}",
        )
        return {
            "status": "requested",
            "reference": reference,
            "people": people,
            "day": day,
            "time": time,
        }

    return ToolRegistry(
        [
            Tool(opening_hours),
            Tool(menu),
            Tool(business_info),
            Tool(book_table),
            Tool(hand_over, hands_over=True),
        ]
    )


def _fact(context: ToolContext, name: str, kind: type) -> object:
    value = context.owner.assistant.facts.get(name)
    if not isinstance(value, kind):
        raise ToolError(f"the business hasn't told its {name.replace('_', ' ')}")
    return cast(object, value)


def _mapping(context: ToolContext, name: str) -> Mapping[str, object]:
    return cast(Mapping[str, object], _fact(context, name, dict))


def _find_item(entries: Sequence[Mapping[str, Any]], item: str) -> Mapping[str, Any] | None:
    """Exactly, else the one entry of which the words asked for are a part, singular or plural."""
    wanted = item.lower().strip()
    names = {str(entry["item"]).lower(): entry for entry in entries}
    for candidate in (wanted, wanted.removesuffix("s"), wanted + "s"):
        if candidate in names:
            return names[candidate]
    stem = wanted.removesuffix("s")
    partly = [entry for name, entry in names.items() if stem and stem in name.split()]
    return partly[0] if len(partly) == 1 else None
