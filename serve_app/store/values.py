"""Values as Postgres can hold them.

Neither `text` nor `jsonb` takes U+0000 or half a surrogate pair, which people's messages and models'
answers may contain: they are left out or replaced here rather than failing the turn for ever.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError

T = TypeVar("T", str, str | None)


def text(value: T) -> T:
    if value is None or value.isascii():
        return cast(T, value.replace("\x00", "")) if value else value
    return cast(T, value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8"))


def pattern(words: str) -> str:
    """As a part of a LIKE pattern that stands for itself."""
    return words.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def jsonable(value: object) -> Any:
    """A JSON document's Python value; pydantic models are dumped."""
    if isinstance(value, BaseModel):
        return jsonable(value.model_dump(mode="json"))
    if isinstance(value, str):
        return text(value)
    if isinstance(value, dict):
        items = cast(dict[str, object], value).items()
        return {text(key): jsonable(item) for key, item in items}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in cast(list[object], value)]
    return value


def json_text(value: BaseModel | Sequence[BaseModel]) -> str:
    """`jsonable` of a model or of several, written out, and several times as quick: for an argument that is
    `::text::jsonb`."""
    if not isinstance(value, BaseModel):
        return f"[{','.join(map(json_text, value))}]"
    try:
        written = value.model_dump_json()
    except PydanticSerializationError:  # half a surrogate pair
        return json.dumps(jsonable(value))
    return json.dumps(jsonable(value)) if "\\u0000" in written else written
