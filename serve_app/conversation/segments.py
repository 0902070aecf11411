"""How many SMS a text is billed as: GSM-7 (3GPP TS 23.038) where all its characters are in it, else UCS-2."""

from __future__ import annotations

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("^{}\\[~]|€\f")
"""An escape and a character: two places."""

GSM_7 = (160, 153)
UCS_2 = (70, 67)
"""Places in a message alone, and in each of several, which spend some on saying which they are."""


def is_gsm_7(text: str) -> bool:
    return all(character in _BASIC or character in _EXTENSION for character in text)


def count_segments(text: str) -> int:
    """At least 1. A character of two places (an escape, a surrogate pair) isn't cut in two."""
    if is_gsm_7(text):
        places = [2 if character in _EXTENSION else 1 for character in text]
        alone, part = GSM_7
    else:
        places = [2 if ord(character) > 0xFFFF else 1 for character in text]
        alone, part = UCS_2
    if sum(places) <= alone:
        return 1
    segments, left = 1, part
    for needed in places:
        if needed > left:
            segments, left = segments + 1, part
        left -= needed
    return segments
