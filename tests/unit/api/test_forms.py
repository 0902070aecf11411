"""Forms are read as the standard library reads them."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.api.forms import read_form

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=10)
pieces = st.text(st.sampled_from("ab=&+% é%2B%zz%C3%A9;\x00"), max_size=12)


def parsed(text: str) -> tuple[tuple[str, str], ...]:
    return tuple(parse_qsl(text, keep_blank_values=True))


@given(pieces)
def test_any_text_is_read_alike(text: str) -> None:
    assert read_form(text.encode(), max_fields=100) == parsed(text)


@given(st.lists(st.tuples(texts, texts), max_size=5))
def test_what_was_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    assert read_form(urlencode(pairs).encode(), max_fields=1_000) == tuple(pairs)


def test_too_many_fields_are_refused() -> None:
    assert len(read_form(b"a=1&a=2&a=3", max_fields=3)) == 3
    with pytest.raises(ValueError, match="too many"):
        read_form(b"a=1&a=2&a=3&a=4", max_fields=3)


def test_what_is_no_utf8_is_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        read_form(b"Body=\xff", max_fields=3)
