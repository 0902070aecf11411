"""Schemas that owners write down: checked, and never a way to somewhere else."""

from __future__ import annotations

import socket

import pytest

from serve_app.json_schema import UnusableSchemaError, check_schema, problems_of


def schema(**parts: object) -> dict[str, object]:
    return {"type": "object", **parts}


def test_references_within_the_schema_are_followed() -> None:
    order = schema(
        properties={"id": {"$ref": "#/$defs/id"}},
        **{"$defs": {"id": {"type": "string", "maxLength": 3}}},
    )
    check_schema(order)
    assert problems_of(order, {"id": "abc"}) == []
    assert problems_of(order, {"id": "abcd"}) == ["id: 'abcd' is too long"]


@pytest.mark.parametrize(
    ("unusable", "problem"),
    [
        ({"properties": 7}, "must be a JSON schema"),
        ({"properties": {"id": {"$ref": "https://example.com/id"}}}, "isn't part of this schema"),
        ({"allOf": [{"$ref": "file:///etc/passwd"}]}, "isn't part of this schema"),
        ({"$dynamicRef": "other.json"}, "isn't part of this schema"),
        ({"properties": {"id": {"$ref": "#/$defs/id"}}}, r"there is no #/\$defs/id"),
        ({"$ref": "#"}, "refers to itself without end"),
    ],
)
def test_what_cannot_be_followed_is_refused(unusable: dict[str, object], problem: str) -> None:
    with pytest.raises(UnusableSchemaError, match=problem):
        check_schema(schema(**unusable))


def test_nothing_is_fetched_for_a_schema_that_was_stored_before() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/latest/meta-data"
        with pytest.raises(UnusableSchemaError, match="leads out of the schema"):
            problems_of(schema(properties={"id": {"$ref": address}}), {"id": "1"})
        with pytest.raises(BlockingIOError):
            listening.accept()
