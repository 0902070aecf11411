"""What a message to the Cloud API holds: a text, a text with buttons, or a template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

_MAX_INTERACTIVE = 1024
_ONE_LINE = r"^[^\n\t]*$"
"""Of a template's variable."""


class GraphError(Exception):
    """An answer that isn't a success."""

    def __init__(self, status: int, code: int, message: str, *, retry_after: int | None = None):
        super().__init__(message)
        self.status = status
        self.code = code
        self.retry_after = retry_after


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore")


class _Text(_Part):
    body: str = Field(min_length=1)


class _InteractiveText(_Part):
    text: str = Field(min_length=1, max_length=_MAX_INTERACTIVE)


class _Reply(_Part):
    id: str = Field(min_length=1, max_length=256)
    title: str = Field(min_length=1, max_length=20)


class _Button(_Part):
    reply: _Reply


class _Action(_Part):
    buttons: tuple[_Button, ...] = Field(min_length=1, max_length=3)


class _Interactive(_Part):
    body: _InteractiveText
    action: _Action


class _Parameter(_Part):
    type: Literal["text"]
    text: str = Field(min_length=1, pattern=_ONE_LINE)


class _Component(_Part):
    parameters: tuple[_Parameter, ...] = ()


class _Language(_Part):
    code: str = Field(min_length=2)


class _Template(_Part):
    name: str = Field(min_length=1)
    language: _Language
    components: tuple[_Component, ...] = ()

    def shown(self) -> str:
        """Its text isn't known here: what it is called, and what its variables say."""
        texts = [each.text for component in self.components for each in component.parameters]
        return " ".join([f"[{self.name} {self.language.code}]", *texts])


def read_content(document: Mapping[str, Any], *, max_body: int) -> tuple[str, tuple[str, ...]]:
    """The text and the buttons' titles. Raises `GraphError` for what the API refuses."""
    try:
        match document.get("type"):
            case "text":
                body = _Text.model_validate(document.get("text")).body
                buttons: tuple[str, ...] = ()
            case "interactive":
                found = _Interactive.model_validate(document.get("interactive"))
                body = found.body.text
                buttons = tuple(button.reply.title for button in found.action.buttons)
            case "template":
                body, buttons = _Template.model_validate(document.get("template")).shown(), ()
            case _:
                raise GraphError(400, 131008, "Required parameter is missing")
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise GraphError(400, 131009, f"Parameter value is not valid: {where}") from error
    if len(body) > max_body:
        raise GraphError(400, 100, f"Param text['body'] must be at most {max_body}")
    if len(set(buttons)) < len(buttons):
        raise GraphError(400, 131009, "Parameter value is not valid: buttons of the same title")
    return body, buttons
