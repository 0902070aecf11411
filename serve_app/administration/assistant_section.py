"""An assistant as its owner's file has it."""

from __future__ import annotations

import re
from typing import Annotated, Literal, cast

from pydantic import Field, field_validator, model_validator

from models.accounts import Assistant
from models.messages import MAX_BUTTONS
from serve_app.administration.facts import Facts, OpeningHours
from serve_app.administration.field_types import (
    INTEGER_MAX,
    Address,
    ButtonTitle,
    Id,
    Language,
    Line,
    Section,
    SpokenLanguage,
    WebAddress,
)
from serve_app.json_schema import check_schema

_TOOL_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_HOST = re.compile(r"https?://[^/?{}]+([/?]|$)")
_HEADER = re.compile(r"[A-Za-z0-9-]+")
_SECRET = re.compile(r"\{secret:([^{}]*)\}")
_UNSENDABLE = frozenset({"host", "content-length", "transfer-encoding", "connection"})
ANY_LANGUAGE = "any"


class PeopleSection(Section):
    keywords: tuple[Line, ...] = ()
    notify_url: WebAddress | None = None
    notify_secret: Id = "notify"  # noqa: S105 - a name
    notify_number: Address | None = None
    give_back_after_hours: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @field_validator("keywords")
    @classmethod
    def _once(cls, keywords: tuple[str, ...]) -> tuple[str, ...]:
        return no_repeats(keywords)


class SpeechSection(Section):
    """Whisper reads 223 tokens before a recording, prompt and hot words together: about 800 letters."""

    language: SpokenLanguage | None = None
    prompt: str = Field(default="", max_length=1000)
    hot_words: tuple[Line, ...] = Field(default=(), max_length=100)

    @field_validator("hot_words")
    @classmethod
    def _once(cls, hot_words: tuple[str, ...]) -> tuple[str, ...]:
        return no_repeats(hot_words)


class HttpToolSection(Section):
    name: str
    description: Line
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: str
    arguments: dict[str, object] = Field(
        default_factory=lambda: dict[str, object](type="object", properties={})
    )
    headers: dict[str, str] = Field(default_factory=dict[str, str])
    timeout_s: float = Field(default=5.0, gt=0, le=60)
    max_response_bytes: int = Field(default=65_536, ge=1, le=1_048_576)

    @field_validator("name")
    @classmethod
    def _callable(cls, name: str) -> str:
        if _TOOL_NAME.fullmatch(name) is None:
            raise ValueError("must be lower-case letters, digits and `_`, at most 63")
        return name

    @field_validator("arguments")
    @classmethod
    def _schema(cls, arguments: dict[str, object]) -> dict[str, object]:
        check_schema(arguments)
        if arguments.get("type") != "object":
            raise ValueError("must be the JSON schema of an object (type: object)")
        return arguments

    @field_validator("headers")
    @classmethod
    def _sendable(cls, headers: dict[str, str]) -> dict[str, str]:
        for name, value in headers.items():
            if _HEADER.fullmatch(name) is None or name.lower() in _UNSENDABLE:
                raise ValueError(f"{name} can't be set")
            if not value.isprintable():
                raise ValueError(f"{name} must be one line of text")
        return headers

    @model_validator(mode="after")
    def _fillable(self) -> HttpToolSection:
        if _HOST.match(self.url) is None:
            raise ValueError("url: must be as in https://example.com/orders/{id}, its host fixed")
        properties = self.arguments.get("properties")
        known = cast(dict[str, object], properties) if isinstance(properties, dict) else {}
        required = self.arguments.get("required")
        needed = cast(list[object], required) if isinstance(required, list) else []
        for name in _PLACEHOLDER.findall(self.url):
            if name not in known or name not in needed:
                raise ValueError(f"url: {{{name}}} must be a required argument")
        return self

    def secrets(self) -> set[str]:
        return {name for value in self.headers.values() for name in _SECRET.findall(value)}


class AssistantSection(Section):
    instructions: str = ""
    tone: str = ""
    language: Language | None = None
    tools: tuple[str, ...] = ()
    facts: Facts = Facts()
    model: Line | None = None
    temperature: float = Field(default=0.0, ge=0, le=2, allow_inf_nan=False)
    top_p: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    max_reply_tokens: int = Field(default=256, ge=1, le=INTEGER_MAX)
    business_hours: OpeningHours | None = None
    outside_hours: Literal["answer", "text", "hand_over", "silent"] = "answer"
    texts: dict[str, dict[Language, Annotated[str, Field(min_length=1)]]] = Field(
        default_factory=dict[str, dict[str, str]]
    )
    buttons: dict[
        str, dict[Language, Annotated[tuple[ButtonTitle, ...], Field(max_length=MAX_BUTTONS)]]
    ] = Field(default_factory=dict[str, dict[str, tuple[str, ...]]])
    people: PeopleSection = PeopleSection()
    http_tools: tuple[HttpToolSection, ...] = ()
    speech: SpeechSection = SpeechSection()

    @field_validator("tools")
    @classmethod
    def _once(cls, tools: tuple[str, ...]) -> tuple[str, ...]:
        return no_repeats(tools)

    @field_validator("http_tools")
    @classmethod
    def _named_once(cls, tools: tuple[HttpToolSection, ...]) -> tuple[HttpToolSection, ...]:
        no_repeats([tool.name for tool in tools])
        return tools

    @field_validator("buttons")
    @classmethod
    def _different(
        cls, buttons: dict[str, dict[str, tuple[str, ...]]]
    ) -> dict[str, dict[str, tuple[str, ...]]]:
        for by_language in buttons.values():
            for titles in by_language.values():
                no_repeats(titles)
        return buttons

    @field_validator("texts", "buttons", mode="before")
    @classmethod
    def _in_any_language(cls, texts: object) -> object:
        """A text, or buttons, may be written without a language: they are for all."""
        if not isinstance(texts, dict):
            return texts
        written = cast(dict[str, object], texts)
        plain = {key for key, value in written.items() if isinstance(value, (str, list))}
        return {
            key: {ANY_LANGUAGE: value} if key in plain else value for key, value in written.items()
        }

    def assistant(self) -> Assistant:
        values = self.model_dump(exclude={"facts", "business_hours"})
        hours = self.business_hours
        return Assistant.model_validate(
            {
                **values,
                "facts": self.facts.as_stored(),
                "business_hours": hours and hours.model_dump(mode="json", exclude_unset=True),
            }
        )


def no_repeats(values: list[str] | tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"{value} stands twice")
    return tuple(values)
