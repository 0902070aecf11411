"""Fixtures of every test; the servers behind them are real and start on first use."""

from __future__ import annotations

import pytest

pytest_plugins = [
    "tests.fixtures.valkey",
    "tests.fixtures.postgres",
    "tests.fixtures.otlp",
    "tests.fixtures.product",
    "tests.fixtures.browser",
    "tests.fixtures.prometheus",
]

_FLOORS = ["unit", "contract", "integration", "e2e", "faults"]
_SLOW = ["demo", "tasks", "engines", "chain", "queue", "outages"]
"""Folders of `integration` whose tests take longest."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        # What is broken below needn't wait for the product to start.
        items.sort(key=_floor)
        return
    # Side by side the slow ones begin, so that none of them is the last to end.
    items.sort(key=_slowness, reverse=True)
    for item in items:
        if _floor(item) >= _FLOORS.index("e2e"):
            # Read by `--dist loadgroup`.
            item.add_marker(pytest.mark.xdist_group(_lane(item)))


def _floor(item: pytest.Item) -> int:
    return _FLOORS.index(_parts(item)[0])


def _slowness(item: pytest.Item) -> tuple[int, int]:
    floor, folder = _floor(item), _parts(item)[1]
    return floor, len(_SLOW) - _SLOW.index(folder) if folder in _SLOW else 0


def _lane(item: pytest.Item) -> str:
    """Who shares a product or stores. Who has ended one takes the next, and that with most tests begins."""
    row = getattr(getattr(item, "callspec", None), "params", {}).get("row")
    if row is not None and row.ray:
        # Breaks what comes back by itself, on a product that others have done with or one of its own.
        return row.name
    if _parts(item)[0] == "faults":
        return "stores"
    return "product" if "product" in getattr(item, "fixturenames", ()) else "life cycle"


def _parts(item: pytest.Item) -> tuple[str, ...]:
    """Below `tests`."""
    return item.path.relative_to(item.config.rootpath).parts[1:]
