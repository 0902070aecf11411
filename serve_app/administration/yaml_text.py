"""YAML as people mean it who write opening hours, prices and phone numbers.

Only `true` and `false` are booleans, only `null`, `~` and nothing are null, and a number is a number
only where writing it back gives the same text: `08:00`, `2.20`, `+1555…`, `0123`, `no` and dates stay
as they were written. Mapping keys are text. A key that stands twice is an error.
"""

# PyYAML's own types are partial.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, cast

import yaml

_BOOL = "tag:yaml.org,2002:bool"
_INT = "tag:yaml.org,2002:int"
_FLOAT = "tag:yaml.org,2002:float"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class _Loader(yaml.SafeLoader):
    """Safe, with the resolvers below in place of YAML 1.1's."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        written: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(
                    None, None, "a key must be plain text", key.start_mark
                )
            if key.tag != _MERGE and key.value in written:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value} stands twice", key.start_mark
                )
            written.add(key.value)
        self.flatten_mapping(node)
        return {
            str(key.value): self.construct_object(value, deep=deep) for key, value in node.value
        }

    def construct_written_float(self, node: yaml.ScalarNode) -> float | str:
        number = float(node.value)
        return number if repr(number) == node.value else str(node.value)


_Loader.add_implicit_resolver(_BOOL, re.compile(r"^(true|false)$"), list("tf"))
_Loader.add_implicit_resolver(_NULL, re.compile(r"^(~|null|)$"), ["~", "n", ""])
_Loader.add_implicit_resolver(_INT, re.compile(r"^(0|-?[1-9][0-9]*)$"), list("-0123456789"))
_Loader.add_implicit_resolver(
    _FLOAT, re.compile(r"^-?(0|[1-9][0-9]*)\.[0-9]+$"), list("-0123456789")
)
_Loader.add_implicit_resolver(_MERGE, re.compile(r"^<<$"), ["<"])
_Loader.add_constructor(_FLOAT, _Loader.construct_written_float)


class _Dumper(yaml.SafeDumper):
    """Block style; text of several lines is written as such."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value.strip("\n") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


def _list(dumper: _Dumper, value: list[object]) -> yaml.SequenceNode:
    short = all(not isinstance(item, (dict, list)) for item in value) and len(str(value)) < 90
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=short)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)


def load_yaml(text: str) -> object:
    """Raises `ValueError` with one line that names the place."""
    try:
        return cast(object, yaml.load(text, Loader=_Loader))  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise ValueError(f"{where}{error.problem or error.context or 'no YAML'}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def dump_yaml(document: object) -> str:
    """Text that `load_yaml` reads as the same document; mappings keep their order."""
    return yaml.dump(
        document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
