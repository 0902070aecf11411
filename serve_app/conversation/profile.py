"""What a contact's number tells of the contact."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from phonenumbers import NumberParseException, parse
from phonenumbers.timezone import UNKNOWN_TIMEZONE, time_zones_for_number

_PREFIXES = ("whatsapp:", "sms:", "tel:")
_SHORT_CODE = 8
"""Bare digits up to so many are no number with its country."""


def likely_timezone(address: str, *, near: str, now: datetime) -> str | None:
    """The time zone of a phone number's country or area; None if there is no number or no telling.

    Where it could be several (Spain and its islands), it is the owner's own (`near`) if that is among
    them, else one that has the same time as `near` now, else none.
    """
    # The same for the rest of the hour: clocks are seldom changed.
    return _likely(address, near, now.astimezone(UTC).replace(minute=0, second=0, microsecond=0))


@lru_cache(maxsize=4096)
def _likely(address: str, near: str, now: datetime) -> str | None:
    number = address
    for prefix in _PREFIXES:
        number = number.removeprefix(prefix)
    if number.isascii() and number.isdigit() and len(number) > _SHORT_CODE:
        # As the Cloud API writes it.
        number = f"+{number}"
    if not number.startswith("+"):
        return None
    try:
        found = [z for z in time_zones_for_number(parse(number)) if z != UNKNOWN_TIMEZONE]
    except NumberParseException:
        return None
    if len(found) == 1:
        return found[0]
    if near in found:
        return near
    offset = _offset(near, now)
    return next(
        (zone for zone in found if offset is not None and _offset(zone, now) == offset), None
    )


def _offset(zone: str, now: datetime) -> object:
    try:
        return now.astimezone(ZoneInfo(zone)).utcoffset()
    except (ZoneInfoNotFoundError, ValueError):
        return None
