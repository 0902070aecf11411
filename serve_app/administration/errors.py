"""What is wrong with what an operator wrote, in one line."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError

from models.errors import PermanentError


class AdministrationError(PermanentError):
    """One line that names what to change."""


_TOKEN_KEYS = ("auth_token", "secondary_token")


def describe(error: ValidationError) -> str:
    """All problems in one line, `assistant.facts.menu[2].price: missing; …`, without any value: a token
    that was pasted into the wrong place isn't repeated."""
    return "; ".join(
        f"{_path(problem['loc'])}: {_what(problem['type'], problem['msg'], problem['loc'])}"
        for problem in error.errors(include_input=False, include_url=False)
    )


def _path(loc: Sequence[int | str]) -> str:
    path = ""
    for part in loc:
        if isinstance(part, int):
            path += f"[{part}]"
        else:
            path += f".{part}" if path else part
    return path or "the file"


def _what(kind: str, message: str, loc: Sequence[int | str]) -> str:
    if kind == "extra_forbidden":
        if loc[-1] in _TOKEN_KEYS:
            return f"a token has no place in the file: name its variable with {loc[-1]}_env"
        return "unknown key"
    if kind == "missing":
        return "missing"
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a mapping"
    message = message.removeprefix("Value error, ").removeprefix("Input ")
    return message[0].lower() + message[1:]
