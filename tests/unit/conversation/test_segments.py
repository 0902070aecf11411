"""SMS segments, as carriers count them."""

from __future__ import annotations

import pytest

from serve_app.conversation.segments import count_segments
from serve_app.simulator.segments import count_segments as simulated


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" * 5, 2),
        ("ã" * 70, 1),
        ("ã" * 71, 2),
        ("ã" * 134, 2),
        ("ã" * 135, 3),
        ("👋" * 35, 1),
        ("👋" * 36, 2),
        ("ñéüÅß¿ " * 20, 1),
    ],
)
def test_segments(text: str, segments: int) -> None:
    assert count_segments(text) == segments


def test_a_pair_is_not_cut_in_two() -> None:
    # 67 places hold 33 pairs: one is left over in each part.
    assert count_segments("👋" * 67) == 3
    assert count_segments("a" * 152 + "€" + "a" * 152) == 3


@pytest.mark.parametrize("text", ["a" * 1000, "ã" * 500, "Olá, tudo bem? " * 40])
def test_the_simulator_agrees_where_nothing_is_cut(text: str) -> None:
    assert count_segments(text) == simulated(text)
