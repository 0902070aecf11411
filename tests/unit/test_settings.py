"""Every setting says what it means, and in which unit."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

from serve_app import settings

_SECTION_SUFFIX = "Settings"
_BASES = {"Section", "BaseSettings", "ChannelSettings"}


def test_each_field_has_a_docstring_of_its_own() -> None:
    tree = ast.parse(Path(settings.__file__).read_text("utf-8"))
    bare = [
        f"{each.name}.{field.target.id}"
        for each in tree.body
        if isinstance(each, ast.ClassDef) and _is_settings(each)
        for field, after in pairwise([*each.body, None])
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and not _is_section(field)
        and not _is_text(after)
    ]
    assert bare == []


def _is_settings(each: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id in _BASES for base in each.bases)


def _is_section(field: ast.AnnAssign) -> bool:
    """A section's own docstring tells what it is."""
    return isinstance(field.annotation, ast.Name) and field.annotation.id.endswith(_SECTION_SUFFIX)


def _is_text(after: ast.stmt | None) -> bool:
    return (
        isinstance(after, ast.Expr)
        and isinstance(after.value, ast.Constant)
        and isinstance(after.value.value, str)
    )
