"""JSON schemas that others wrote down: nothing that they refer to is ever fetched.

Left to itself the library opens whatever address a `$ref` names, in the event loop, without a time limit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, cast

from jsonschema import Draft202012Validator, SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

_NOTHING_ELSE = cast(Any, Registry)()
"""Holds no other schemas, and no way to get any."""
_REFERENCES = ("$ref", "$dynamicRef")


class UnusableSchemaError(ValueError):
    """A schema that isn't one, or that can't be followed to its end."""


def check_schema(schema: Mapping[str, object]) -> None:
    """Raises `UnusableSchemaError`: also for references that leave the schema or lead nowhere."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise UnusableSchemaError(f"must be a JSON schema: {error.message}") from error
    resource = DRAFT202012.create_resource(cast(Any, schema))
    resolver = _NOTHING_ELSE.with_resource("", resource).resolver()
    for reference in _references(schema):
        if not reference.startswith("#"):
            raise UnusableSchemaError(
                f"$ref: {reference} isn't part of this schema: only references that begin with # are"
                " followed"
            )
        try:
            resolver.lookup(reference)
        except Unresolvable as error:
            raise UnusableSchemaError(f"$ref: there is no {reference} in this schema") from error
    problems_of(schema, {})


def problems_of(schema: Mapping[str, object], value: object) -> list[str]:
    """What is wrong with `value`, a line each; none if it fits. Raises `UnusableSchemaError`."""
    validator = Draft202012Validator(cast(Any, schema), registry=_NOTHING_ELSE)
    try:
        errors: list[Any] = list(cast(Any, validator).iter_errors(value))
    except Unresolvable as error:
        raise UnusableSchemaError("a reference leads out of the schema, or nowhere") from error
    except RecursionError as error:
        raise UnusableSchemaError("it refers to itself without end") from error
    return [f"{error.json_path.removeprefix('$.')}: {error.message}" for error in errors]


def _references(part: object) -> Iterator[str]:
    if isinstance(part, Mapping):
        for key, value in cast(Mapping[str, object], part).items():
            if key in _REFERENCES and isinstance(value, str):
                yield value
            yield from _references(value)
    elif isinstance(part, list):
        for item in cast(list[object], part):
            yield from _references(item)
