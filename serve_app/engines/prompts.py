"""Prompts in the shape of OpenAI's chat completions, and how they are cut to a budget."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any, Literal

from models.inference import ChatMessage, ToolCall, ToolSpec


def as_openai_message(
    message: ChatMessage, *, arguments: Literal["object", "text"]
) -> dict[str, Any]:
    """Chat templates want a tool call's arguments as an object, OpenAI's API wants their JSON text."""
    shaped: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.tool_calls:
        shaped["tool_calls"] = [_as_openai_call(call, arguments) for call in message.tool_calls]
    if message.role == "tool":
        shaped["tool_call_id"] = _short_id(message.tool_call_id or "")
        if message.name:
            shaped["name"] = message.name
    return shaped


def as_openai_tool(tool: ToolSpec) -> dict[str, Any]:
    return {
        "type": "function",
        "function": {
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
        },
    }


def fit_messages(
    messages: Sequence[ChatMessage],
    *,
    budget: int,
    count: Callable[[Sequence[ChatMessage]], int],
) -> tuple[ChatMessage, ...]:
    """Leave out the oldest exchanges until `count` says at most `budget` tokens.

    Cuts fall in front of a user's message only, so that no tool result loses its call and the history
    begins as chat templates want it. System messages, the latest user message and what follows it
    always stay, even if they are over the budget: the caller decides whether that is too long.
    """
    if count(messages) <= budget:
        return tuple(messages)
    starts = [at for at, message in enumerate(messages) if message.role == "user"]
    if not starts:
        return tuple(messages)

    def cut(at: int) -> tuple[ChatMessage, ...]:
        return tuple(
            message
            for index, message in enumerate(messages)
            if index >= at or message.role == "system"
        )

    # Later cuts are never longer: search for the first that fits instead of trying each.
    first = bisect_left(starts, True, key=lambda at: count(cut(at)) <= budget)
    return cut(starts[min(first, len(starts) - 1)])


def _as_openai_call(call: ToolCall, arguments: Literal["object", "text"]) -> dict[str, Any]:
    shaped: object = call.arguments
    if arguments == "text":
        shaped = json.dumps(call.arguments, ensure_ascii=False)
    return {
        "id": _short_id(call.id),
        "type": "function",
        "function": {"name": call.name, "arguments": shaped},
    }


def _short_id(call_id: str) -> str:
    """Mistral's templates and API accept ids of nine letters and digits only."""
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
