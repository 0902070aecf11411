"""The page of features names tests that exist."""

from __future__ import annotations

import re
from collections.abc import Iterator

from serve_app.settings import PROJECT_ROOT

TESTS = PROJECT_ROOT / "tests"
_NAMED = re.compile(r"`([\w/]+/)?(\w+\.py)`")


def named_tests(line: str) -> Iterator[str]:
    """A file without a folder is in the one that was named before it."""
    folder = ""
    for match in _NAMED.finditer(line):
        folder = match[1] or folder
        yield folder + match[2]


def test_every_feature_names_tests_that_exist() -> None:
    page = (PROJECT_ROOT / "docs" / "features.md").read_text("utf-8")
    roots = (PROJECT_ROOT, TESTS, TESTS / "integration")
    rows = [line for line in page.splitlines() if line.startswith("| ") and "tested" not in line]
    assert len(rows) > 30
    for row in rows:
        tested = row.rstrip(" |").rsplit(" | ", 1)[-1]
        found = list(named_tests(tested))
        assert found or "`unit/" in tested, row
        missing = [name for name in found if not any((root / name).is_file() for root in roots)]
        assert not missing, row
