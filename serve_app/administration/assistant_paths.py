"""Sets single values of an assistant by their path: `facts.menu.latte.price=3.60`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from serve_app.administration.errors import AdministrationError
from serve_app.administration.yaml_text import load_yaml


def assign(document: dict[str, Any], assignment: str) -> None:
    """Change `document` in place: `key=value` with the value in YAML, or `key=` to leave the key out.

    Mappings are entered by their keys, lists by the name of an entry's `item`. Raises
    `AdministrationError` that names the key.
    """
    path, equals, written = assignment.partition("=")
    path = path.strip()
    parts = [part.strip() for part in path.split(".")]
    if not equals or not all(parts):
        raise AdministrationError(f"{assignment} isn't of the form key=value")
    try:
        value = load_yaml(written)
    except ValueError as error:
        raise AdministrationError(f"{path}: {error}") from error
    inner: object = document
    for depth, part in enumerate(parts[:-1]):
        inner = _enter(inner, part, ".".join(parts[: depth + 1]))
    _put(inner, parts[-1], value, path, remove=not written.strip())


def _enter(container: object, part: str, path: str) -> object:
    if isinstance(container, dict):
        mapping = cast(dict[str, object], container)
        return mapping.setdefault(part, {})
    if isinstance(container, list):
        entries = cast(list[object], container)
        return entries[_index(entries, part, path)]
    raise AdministrationError(f"{path}: there is nothing to set a key of")


def _put(container: object, part: str, value: object, path: str, *, remove: bool) -> None:
    if isinstance(container, dict):
        mapping = cast(dict[str, object], container)
        if not remove:
            mapping[part] = value
        elif mapping.pop(part, mapping) is mapping:
            raise AdministrationError(f"{path}: it isn't there, so it can't be left out")
        return
    if not isinstance(container, list):
        raise AdministrationError(f"{path}: there is nothing to set a key of")
    entries = cast(list[object], container)
    index = _index(entries, part, path)
    if remove:
        del entries[index]
    else:
        entries[index] = value


def _index(entries: list[object], part: str, path: str) -> int:
    names = [
        str(cast(Mapping[str, object], entry).get("item")) if isinstance(entry, Mapping) else None
        for entry in entries
    ]
    if part in names:
        return names.index(part)
    known = ", ".join(name for name in names if name)
    raise AdministrationError(f"{path}: there is no such entry{f', only {known}' if known else ''}")
