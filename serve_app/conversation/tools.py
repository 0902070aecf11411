"""Tools: typed functions that the model may call."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from models.errors import ToolError
from models.inference import ToolSpec
from serve_app.ports import ToolContext

ToolFunction = Callable[..., Awaitable[Mapping[str, object]]]
"""`async def name(context: ToolContext, argument: type = default, ...) -> dict`: the docstring's first
paragraph is what the model is told. Raises `ToolError` with a text the model may explain."""


class CallableTool(Protocol):
    """What the agent knows of a tool. `timeout_s` of None is the installation's."""

    @property
    def name(self) -> str: ...

    @property
    def spec(self) -> ToolSpec: ...

    @property
    def hands_over(self) -> bool: ...

    @property
    def timeout_s(self) -> float | None: ...

    async def call(
        self, context: ToolContext, arguments: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Raises `ToolError` with a text that the model may explain."""
        ...


class Tool:
    """A function with the schema of its arguments, taken from its signature. A call of a tool that
    `hands_over` ends with a person taking the conversation."""

    def __init__(
        self, function: ToolFunction, *, hands_over: bool = False, timeout_s: float | None = None
    ) -> None:
        self.name: str = function.__name__
        self.hands_over = hands_over
        self.timeout_s = timeout_s
        self._function = function
        self._arguments = _arguments_model(function)
        schema = self._arguments.model_json_schema()
        schema.pop("title", None)
        for prop in schema.get("properties", {}).values():
            prop.pop("title", None)
        doc = inspect.getdoc(function) or ""
        self.spec = ToolSpec(
            name=self.name, description=doc.split("\n\n")[0].replace("\n", " "), parameters=schema
        )

    async def call(
        self, context: ToolContext, arguments: Mapping[str, object]
    ) -> Mapping[str, object]:
        """Raises `ToolError` for arguments that don't fit, with a text that says which."""
        try:
            checked = self._arguments.model_validate(arguments)
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
            )
            raise ToolError(problems) from error
        values = {name: getattr(checked, name) for name in type(checked).model_fields}
        return await self._function(context, **values)


class ToolRegistry:
    """The tools an installation has; which of them an owner's assistant may call is the owner's choice."""

    def __init__(self, tools: Iterable[Tool]) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise ValueError(f"two tools are called {tool.name}")
            self._tools[tool.name] = tool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._tools)

    @property
    def all(self) -> tuple[Tool, ...]:
        return tuple(self._tools.values())

    def get(self, name: str) -> Tool | None:
        return self._tools.get(name)

    def chosen(self, names: Sequence[str]) -> list[Tool]:
        """Those of `names` that there are."""
        return [self._tools[name] for name in names if name in self._tools]


def _arguments_model(function: ToolFunction) -> type[BaseModel]:
    hints = get_type_hints(function, include_extras=True)
    fields: dict[str, Any] = {}
    for index, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if index == 0:
            continue  # the context
        default = ... if parameter.default is inspect.Parameter.empty else parameter.default
        fields[name] = (hints[name], default)
    return create_model(
        f"{function.__name__}_arguments", __config__=ConfigDict(extra="forbid"), **fields
    )
