"""YAML as it is meant, and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.administration.yaml_text import dump_yaml, load_yaml

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Cn")), max_size=20)
DOCUMENTS = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | TEXT
    | st.sampled_from(["2.20", "no", "08:00", "~"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("10:30", "10:30"),
        ("[10:00, 18:00]", ["10:00", "18:00"]),
        ("2.20", "2.20"),
        ("2.5", 2.5),
        ("1000", 1000),
        ("0123", "0123"),
        ("+15551234567", "+15551234567"),
        ("whatsapp:+15551234567", "whatsapp:+15551234567"),
        ("no", "no"),
        ("yes", "yes"),
        ("true", True),
        ("2026-01-01", "2026-01-01"),
        ("1_000", "1_000"),
        ("~", None),
        ("", None),
        ("{2026: a, no: b, true: c}", {"2026": "a", "no": "b", "true": "c"}),
        ("a: &x {b: 1}\nc: {<<: *x, d: 2}", {"a": {"b": 1}, "c": {"b": 1, "d": 2}}),
    ],
)
def test_what_is_written_is_what_is_meant(written: str, meant: object) -> None:
    assert load_yaml(written) == meant


@given(DOCUMENTS)
def test_what_is_dumped_is_loaded_again(document: object) -> None:
    assert load_yaml(dump_yaml(document)) == document


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("a: 1\nb: 2\na: 3", "line 3, column 1: the key a stands twice"),
        ("a: {b: 1, b: 1}", "the key b stands twice"),
        ("a: [", "line 1"),
        ("? [a]\n: 1", "plain text"),
        ("a: !!python/object/apply:os.getcwd []", "constructor"),
        ("a: \x00", "special characters"),
    ],
)
def test_what_is_wrong_is_one_line(written: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as raised:
        load_yaml(written)
    assert "\n" not in str(raised.value)
