"""Booking references that are easy to say: `A17`, `K402`."""

from __future__ import annotations

_LETTERS = "ABCDEFGHJKLMNPQRSTUVWXYZ"
"""Without I and O, which are read as digits."""

_BLOCKS = ((10, 100), (100, 1000), (1000, 10_000), (10_000, 100_000))
"""Ranges of the number; the next one starts when an owner has used up the one before."""

_STRIDE = 1_543
"""A prime that shares no factor with any block's size (24 · 9 · 10ⁿ), so that stepping by it visits
every reference once."""


def reference(number: int) -> str:
    """The `number`-th reference of an owner, from 0: no two are alike, and neighbours don't look it."""
    rest = number
    for low, high in _BLOCKS:
        size = len(_LETTERS) * (high - low)
        if rest < size:
            step = (rest * _STRIDE + 17) % size
            letter, digits = divmod(step, high - low)
            return f"{_LETTERS[letter]}{low + digits}"
        rest -= size
    return f"Z{number}"
