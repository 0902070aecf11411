"""Values that Postgres can't hold as they are."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from models.inference import ToolCall
from serve_app.store.values import jsonable, text


def test_text() -> None:
    assert text("olá\x00 mundo") == "olá mundo"
    assert text("a\x00b") == "ab"
    assert text("half \ud83d pair") == "half ? pair"
    assert text("whole 😀") == "whole 😀"
    assert text(None) is None
    assert text("") == ""


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_text_is_always_storable(value: str) -> None:
    stored = text(value)
    assert "\x00" not in stored
    assert stored.encode("utf-8").decode("utf-8") == stored


def test_jsonable() -> None:
    call = ToolCall(id="1", name="n", arguments={"a\x00": ["x\x00", {"y": None}], "z": 1.5})

    value = jsonable((call, True))

    assert value == [
        {"id": "1", "name": "n", "arguments": {"a": ["x", {"y": None}], "z": 1.5}},
        True,
    ]
    assert "\\u0000" not in json.dumps(value)
