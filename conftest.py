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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The quick ones first: what is broken below needn't wait for the product to start."""
    items.sort(key=lambda item: _FLOORS.index(_floor(item)))


def _floor(item: pytest.Item) -> str:
    return item.path.relative_to(item.config.rootpath).parts[1]
