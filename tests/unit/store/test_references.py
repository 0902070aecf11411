"""Booking references."""

from __future__ import annotations

import re

from serve_app.store.references import reference


def test_short_and_sayable() -> None:
    assert all(re.fullmatch(r"[A-Z]\d{2}", reference(n)) for n in range(2_160))
    assert all(re.fullmatch(r"[A-Z]\d{3}", reference(n)) for n in range(2_160, 23_760))


def test_no_two_alike() -> None:
    many = 300_000
    assert len({reference(n) for n in range(many)}) == many


def test_grow_beyond_the_last_block() -> None:
    last = 24 * 99_990
    assert len({reference(n) for n in range(last - 50, last + 50)}) == 100


def test_neighbours_look_unlike() -> None:
    assert all(reference(n)[0] != reference(n + 1)[0] for n in range(1_000))
