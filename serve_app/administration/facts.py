"""The facts that the shipped tools look things up in: their shape, and what is missing."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.accounts import Assistant

_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d|24:00")
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
LOOKED_UP = {"opening_hours": "opening_hours", "menu": "menu", "business_info": "info"}
"""The fact that each tool needs."""


def _time(value: str) -> str:
    if _TIME.fullmatch(value) is None:
        raise ValueError("must be a time as in 08:30")
    return value


Time = Annotated[str, AfterValidator(_time)]
Span = tuple[Time, Time]


class _Section(BaseModel):
    # A price or a house number may be written as a number.
    model_config = ConfigDict(extra="forbid", coerce_numbers_to_str=True)


class OpeningHours(_Section):
    """Opening and closing time; null where closed. A day left out isn't known."""

    monday: Span | None = None
    tuesday: Span | None = None
    wednesday: Span | None = None
    thursday: Span | None = None
    friday: Span | None = None
    saturday: Span | None = None
    sunday: Span | None = None


class MenuEntry(_Section):
    item: Annotated[str, Field(min_length=1)]
    price: Annotated[str, Field(min_length=1)]
    category: str = ""


class Facts(_Section):
    """More facts may be given, for tools of one's own."""

    model_config = ConfigDict(extra="allow")

    opening_hours: OpeningHours = OpeningHours()
    menu: list[MenuEntry] = []
    info: dict[str, str] = {}

    def as_stored(self) -> dict[str, object]:
        return self.model_dump(mode="json", exclude_unset=True)


def remarks(assistant: Assistant) -> list[str]:
    """What is probably not meant, though it is allowed."""
    found = [
        f"assistant.facts.{name}: no shipped tool looks it up"
        for name in assistant.facts
        if name not in LOOKED_UP.values()
    ]
    found += [
        f"assistant.tools: {tool} will find nothing, as assistant.facts.{LOOKED_UP[tool]} is missing"
        for tool in assistant.tools
        if tool in LOOKED_UP and not assistant.facts.get(LOOKED_UP[tool])
    ]
    return found
