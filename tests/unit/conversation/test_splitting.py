"""Long replies in parts that a channel can carry."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.conversation.splitting import number_parts, split_text

TEXTS = st.text(alphabet=st.sampled_from("ab.!? \n\tç…🙂"), max_size=300)
LIMITS = st.integers(min_value=1, max_value=60)


def _solid(text: str) -> str:
    return re.sub(r"\s", "", text)


@given(TEXTS, LIMITS)
def test_nothing_but_white_space_is_lost_and_every_part_fits(text: str, limit: int) -> None:
    parts = split_text(text, limit)
    assert _solid("".join(parts)) == _solid(text)
    assert all(0 < len(part) <= limit and part == part.strip() for part in parts)


@given(TEXTS, LIMITS)
def test_numbered_parts_fit_too_and_lose_nothing(text: str, limit: int) -> None:
    parts = number_parts(text, limit)
    assert all(0 < len(part) <= limit for part in parts)
    numbers = [re.match(r"\((\d+)/(\d+)\) ", part) for part in parts]
    if len(parts) > 1 and all(numbers):
        assert [(int(n[1]), int(n[2])) for n in numbers if n] == [
            (i, len(parts)) for i in range(1, len(parts) + 1)
        ]
        parts = [part[n.end() :] for part, n in zip(parts, numbers, strict=True) if n]
    assert _solid("".join(parts)) == _solid(text)


def test_a_text_that_fits_is_left_alone() -> None:
    assert split_text("  One line.\n\nAnother.  ", 100) == ["One line.\n\nAnother."]
    assert number_parts("Short", 100) == ["Short"]


@pytest.mark.parametrize("text", ["", "   ", "\n\n"])
def test_nothing_to_say_is_no_part(text: str) -> None:
    assert split_text(text, 10) == []
    assert number_parts(text, 10) == []


def test_cuts_fall_at_paragraphs_then_sentences_then_words() -> None:
    assert split_text("First part here.\n\nSecond. Third.", 26) == [
        "First part here.",
        "Second. Third.",
    ]
    assert split_text("One sentence here. Another one follows", 25) == [
        "One sentence here.",
        "Another one follows",
    ]
    assert split_text("some words without an end", 12) == ["some words", "without an", "end"]
    assert split_text("abcdefghij", 4) == ["abcd", "efgh", "ij"]


def test_a_cut_that_leaves_a_part_mostly_empty_is_not_taken() -> None:
    text = "Hi.\n\n" + "word " * 20
    assert len(split_text(text, 50)[0]) > 25


def test_numbers_take_their_own_width_into_account() -> None:
    parts = number_parts("word " * 60, 20)
    assert len(parts) >= 10
    assert parts[0].startswith(f"(1/{len(parts)}) ")
    assert parts[-1].startswith(f"({len(parts)}/{len(parts)}) ")


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="limit"):
        split_text("text", 0)
