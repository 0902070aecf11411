"""Whether a business is open, by the hours that its assistant keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from models.accounts import Assistant, Owner

log = structlog.get_logger(__name__)

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def zone_of(owner: Owner) -> tzinfo:
    try:
        return ZoneInfo(owner.timezone)
    except (ZoneInfoNotFoundError, ValueError):
        log.warning("owner_has_unknown_timezone", owner=owner.id, timezone=owner.timezone)
        return UTC


def is_open(assistant: Assistant, now: datetime) -> bool:
    """By `business_hours`, else by the fact `opening_hours`; `now` is in the owner's time zone.

    A day that isn't told counts as open: better answered than refused for want of a fact. Closing at or
    before the time of opening means the next day.
    """
    hours: object = assistant.business_hours
    if hours is None:
        hours = assistant.facts.get("opening_hours")
    if not isinstance(hours, Mapping) or not hours:
        return True
    days = cast(Mapping[str, Sequence[str] | None], hours)
    if WEEKDAYS[now.weekday()] not in days:
        return True
    time = f"{now:%H:%M}"
    today = days[WEEKDAYS[now.weekday()]]
    if today and _spans_midnight(today):
        if time >= today[0]:
            return True
    elif today and today[0] <= time < today[1]:
        return True
    yesterday = days.get(WEEKDAYS[(now - timedelta(days=1)).weekday()])
    return bool(yesterday and _spans_midnight(yesterday) and time < yesterday[1])


def _spans_midnight(span: Sequence[str]) -> bool:
    return span[1] <= span[0]
