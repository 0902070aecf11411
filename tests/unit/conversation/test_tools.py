"""Tools: schemas from signatures, arguments checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from pydantic import Field

from models.errors import ToolError
from serve_app.conversation.tools import Tool, ToolRegistry
from serve_app.ports import ToolContext
from tests.unit.conversation.toolbox import context


async def reserve(
    context: ToolContext,
    people: Annotated[int, Field(ge=1, description="how many")],
    size: Literal["small", "large"] = "small",
    note: str | None = None,
) -> Mapping[str, object]:
    """Reserve something
    for somebody.

    This paragraph isn't for the model.
    """
    return {"people": people, "size": size, "note": note, "call": context.call_id}


def test_the_schema_comes_from_the_signature() -> None:
    spec = Tool(reserve).spec
    assert spec.name == "reserve"
    assert spec.description == "Reserve something for somebody."
    assert spec.parameters["type"] == "object"
    assert spec.parameters["required"] == ["people"]
    assert spec.parameters["additionalProperties"] is False
    properties = spec.parameters["properties"]
    assert isinstance(properties, dict)
    assert properties["people"] == {"type": "integer", "minimum": 1, "description": "how many"}
    assert properties["size"] == {"type": "string", "enum": ["small", "large"], "default": "small"}
    assert "context" not in properties


async def test_arguments_are_converted_and_defaults_filled_in() -> None:
    result = await Tool(reserve).call(context(call_id="c1"), {"people": "4"})
    assert result == {"people": 4, "size": "small", "note": None, "call": "c1"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({}, "people"),
        ({"people": "many"}, "people"),
        ({"people": 0}, "people"),
        ({"people": 2, "size": "huge"}, "size"),
        ({"people": 2, "colour": "red"}, "colour"),
    ],
)
async def test_arguments_that_do_not_fit_are_named(
    arguments: dict[str, object], named: str
) -> None:
    with pytest.raises(ToolError, match=named):
        await Tool(reserve).call(context(), arguments)


def test_the_registry_offers_what_an_assistant_may_call() -> None:
    async def other(context: ToolContext) -> Mapping[str, object]:
        """Another."""
        return {}

    registry = ToolRegistry([Tool(reserve), Tool(other)])
    assert [tool.name for tool in registry.chosen(["other", "gone", "reserve"])] == [
        "other",
        "reserve",
    ]
    assert registry.get("gone") is None
    assert registry.chosen([]) == []


def test_two_tools_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="reserve"):
        ToolRegistry([Tool(reserve), Tool(reserve)])
