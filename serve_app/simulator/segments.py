"""How many SMS segments a body is billed as (GSM 03.38 and UCS-2)."""

from __future__ import annotations

_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"
    "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("^{}\\[~]|€\f")
"""Take two places."""


def count_segments(body: str) -> int:
    if all(character in _BASIC or character in _EXTENDED for character in body):
        places = sum(2 if character in _EXTENDED else 1 for character in body)
        single, part = 160, 153
    else:
        places = len(body.encode("utf-16-be")) // 2
        single, part = 70, 67
    return 1 if places <= single else -(-places // part)
