"""Keeps phone numbers and secrets out of the logs."""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from functools import lru_cache
from typing import Any, cast

REMOVED = "[removed]"

_SECRET_WORDS = frozenset(
    {"token", "secret", "authorization", "password", "passwd", "apikey", "signature", "cookie"}
)
_SECRET_PHRASES = ("api_key", "secret_key", "private_key")
_DIGIT = re.compile(r"\d")
_WORD_BREAK = re.compile(r"[^a-z0-9]+")

# With a plus sign (also as %2B): 7 to 15 digits of E.164, written with or without separators.
_INTERNATIONAL = re.compile(r"(?:\+|%2B)\d(?:[ ().-]{0,2}\d){6,14}(?!\d)", re.IGNORECASE)
# WhatsApp's ids and Twilio's addresses can come without the plus. Digits that are part of an id, a
# decimal or a stream position are left alone.
_BARE = re.compile(r"(?<![\w.+%-])\d{10,15}(?![\w.-]*\w)")
# What Meta calls who hides the number: a country, a point, letters and digits (US.1349…, US.ENT.1181…).
_BUSINESS_SCOPED = re.compile(
    r"(?<![\w.])([A-Z]{2}\.(?:ENT\.)?)(?=[A-Za-z]*\d)[A-Za-z0-9]{6,128}(?!\w)"
)
_URL_PASSWORD = re.compile(r"(?P<scheme>://[^/@\s:]*):[^/@\s]+@")

_PLAIN_KEYS = frozenset({"timestamp", "level", "logger", "service", "correlation_id"})


def mask_phone_numbers(text: str) -> str:
    """`+5511999990042` becomes `+***42`, and `US.13491208655302` `US.***02`."""
    if _DIGIT.search(text) is None:
        return text
    masked = _BUSINESS_SCOPED.sub(lambda found: f"{found[1]}***{found[0][-2:]}", text)
    return _BARE.sub(_keep_two, _INTERNATIONAL.sub(_keep_two, masked))


def redact(text: str) -> str:
    """`text` without phone numbers and without the passwords of URLs."""
    if "://" in text:
        text = _URL_PASSWORD.sub(rf"\g<scheme>:{REMOVED}@", text)
    return mask_phone_numbers(text)


@lru_cache(maxsize=1024)
def is_secret_key(key: str) -> bool:
    """Whether a value under this name must not be written down."""
    lowered = key.lower()
    if any(phrase in lowered.replace("-", "_") for phrase in _SECRET_PHRASES):
        return True
    return not _SECRET_WORDS.isdisjoint(_WORD_BREAK.split(lowered))


def redact_event(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """structlog processor: masks strings at every depth and drops the values of secret keys."""
    for key, value in list(event_dict.items()):
        if key in _PLAIN_KEYS or key.startswith("_"):
            continue
        event_dict[key] = _redact_value(key, value)
    return event_dict


def _keep_two(match: re.Match[str]) -> str:
    number = match.group()
    plus = "+" if not number[0].isdigit() else ""
    return f"{plus}***{number[-2:]}"


def _redact_value(key: str, value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if is_secret_key(key):
        return REMOVED
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value).items()
        return {redact(str(k)): _redact_value(str(k), v) for k, v in items}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(key, item) for item in cast("list[object]", value)]
    return redact(str(value))
