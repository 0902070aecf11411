"""Single values set by their path."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.administration.assistant_paths import assign
from serve_app.administration.errors import AdministrationError


def _document() -> dict[str, Any]:
    return {
        "language": "en",
        "facts": {
            "opening_hours": {"sunday": None},
            "menu": [{"item": "flat white", "price": "3.80"}, {"item": "latte", "price": "3.40"}],
            "info": {"dogs": "welcome"},
        },
    }


@pytest.mark.parametrize(
    ("assignment", "path", "value"),
    [
        ("language=es", ("language",), "es"),
        ("temperature = 0.5", ("temperature",), 0.5),
        ("tools=[menu, hand_over]", ("tools",), ["menu", "hand_over"]),
        (
            "facts.opening_hours.sunday=[10:00, 14:00]",
            ("facts", "opening_hours", "sunday"),
            ["10:00", "14:00"],
        ),
        ("facts.opening_hours.monday=null", ("facts", "opening_hours", "monday"), None),
        ("facts.menu.flat white.price=3.90", ("facts", "menu", 0, "price"), "3.90"),
        ("facts.info.wifi=a=b", ("facts", "info", "wifi"), "a=b"),
        ("facts.more.deep.down=1", ("facts", "more", "deep", "down"), 1),
    ],
)
def test_set(assignment: str, path: tuple[Any, ...], value: object) -> None:
    document: Any = _document()
    assign(document, assignment)
    for part in path:
        document = document[part]
    assert document == value


def test_left_out() -> None:
    document = _document()
    assign(document, "facts.info.dogs=")
    assign(document, "facts.menu.latte=")
    assert document["facts"]["info"] == {}
    assert [entry["item"] for entry in document["facts"]["menu"]] == ["flat white"]


@pytest.mark.parametrize(
    ("assignment", "problem"),
    [
        ("language", "isn't of the form key=value"),
        ("=es", "isn't of the form key=value"),
        ("facts..menu=1", "isn't of the form key=value"),
        ("facts.menu.mocha.price=4", "facts.menu.mocha: there is no such entry, only flat white"),
        ("facts.menu.mocha=", "facts.menu.mocha: there is no such entry"),
        ("language.code=es", "language.code: there is nothing to set a key of"),
        ("facts.opening_hours.sunday.open=1", "there is nothing to set a key of"),
        ("facts.info.cats=", "facts.info.cats: it isn't there"),
        ("tools=[menu", "tools: line 1"),
    ],
)
def test_refused(assignment: str, problem: str) -> None:
    with pytest.raises(AdministrationError) as raised:
        assign(_document(), assignment)
    assert problem in str(raised.value)
