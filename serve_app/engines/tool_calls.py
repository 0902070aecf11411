"""What a model wrote, taken apart: words, tool calls, thoughts.

What transformers can't read by the model's family comes here: the markup of Hermes and Qwen models,
`<tool_call>{"name": …, "arguments": …}</tool_call>`, Qwen 3.5's
`<function=name><parameter=key>value</parameter></function>` inside it, Mistral's `[TOOL_CALLS]` and the bare
JSON of Llama 3. Small models write it badly now and then, so near-JSON is read too. A call that can't be read
is dropped and counted: its markup never becomes text, because text goes to a customer.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, cast

CALL = re.compile(r"<tool_call>(?P<body>.*?)(?:</tool_call>|(?=<tool_call>)|\Z)", re.DOTALL)
XML_CALL = re.compile(r"<function=(?P<name>[^>\s]+)>(?P<body>.*?)(?:</function>|\Z)", re.DOTALL)
XML_PARAMETER = re.compile(
    r"<parameter=(?P<key>[^>\s]+)>\s*(?P<value>.*?)\s*</parameter>", re.DOTALL
)
THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
MISTRAL = re.compile(
    r"\[TOOL_CALLS\]\s*(?P<name>[\w-]*)(?:\[ARGS\])?(?P<body>.*?)(?=\[TOOL_CALLS\]|\Z)", re.DOTALL
)
STRAY = re.compile(r"</?(?:tool_call|tool_response|think)>")


@dataclass(frozen=True, slots=True)
class ParsedReply:
    """`unreadable` counts tool calls that had to be dropped."""

    content: str
    calls: tuple[tuple[str, dict[str, object]], ...] = ()
    unreadable: int = 0


def parse_reply(text: str, *, tools: Collection[str] = ()) -> ParsedReply:
    """`text` is the decoded completion, its end-of-turn token removed. A bare JSON object is a call only if
    it names one of `tools`."""
    # A template may open the thought in the prompt, so that only its end is in the completion.
    _, closed, rest = text.partition("</think>")
    if closed and "<think>" not in text[: text.index("</think>")]:
        text = rest
    text = THOUGHT.sub("", text)
    calls: list[tuple[str, dict[str, object]]] = []
    unreadable = 0
    for match in CALL.finditer(text):
        call = _read_call(match["body"].strip())
        if call is None:
            unreadable += 1
        else:
            calls.append(call)
    text = CALL.sub("", text)
    for match in MISTRAL.finditer(text):
        found = _read_mistral(match["name"], match["body"].strip())
        unreadable += not found
        calls += found
    text = MISTRAL.sub("", text)
    bare = _read_call(text.strip().removeprefix("<|python_tag|>").strip()) if tools else None
    if bare is not None and bare[0] in tools:
        calls.append(bare)
        text = ""
    content = STRAY.sub("", text).strip()
    return ParsedReply(content=content, calls=tuple(calls), unreadable=unreadable)


def read_arguments(value: object) -> dict[str, object] | None:
    """A tool call's arguments, from an object or its (near-)JSON text; None if it is neither."""
    if isinstance(value, str):
        value = _read_object(value) if value.strip() else {}
    if value is None or not isinstance(value, dict):
        return None
    return {str(key): item for key, item in cast("dict[Any, object]", value).items()}


def _read_call(body: str) -> tuple[str, dict[str, object]] | None:
    xml = XML_CALL.search(body)
    if xml:
        return xml["name"], {
            parameter["key"]: _read_value(parameter["value"])
            for parameter in XML_PARAMETER.finditer(xml["body"])
        }
    call = _read_object(body)
    if call is None or not isinstance(call.get("name"), str):
        return None
    arguments = read_arguments(call.get("arguments", call.get("parameters", {})))
    return None if arguments is None else (str(call["name"]), arguments)


def _read_mistral(name: str, body: str) -> list[tuple[str, dict[str, object]]]:
    """`[TOOL_CALLS] [{"name": …, "arguments": …}]`, or since 2025 `[TOOL_CALLS]name[ARGS]{…}`."""
    body = body.removesuffix("</s>").strip()
    if name:
        arguments = read_arguments(body)
        return [] if arguments is None else [(name, arguments)]
    try:
        listed = json.loads(body)
    except ValueError:
        return []
    read = [_read_call(json.dumps(each)) for each in listed] if isinstance(listed, list) else []
    return [call for call in read if call is not None]


def _read_object(text: str) -> dict[str, object] | None:
    """JSON, JSON short of closing braces, or a Python literal (single quotes, `True`)."""
    missing = max(0, text.count("{") - text.count("}"))
    for candidate in (text, text + "}" * missing):
        for read in (json.loads, ast.literal_eval):
            try:
                value = read(candidate)
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                continue
            if isinstance(value, dict):
                return cast("dict[str, object]", value)
    return None


def _read_value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
