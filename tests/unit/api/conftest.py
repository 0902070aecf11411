"""Log lines are collected: drawing tracebacks on a terminal costs more than the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict


@pytest.fixture(autouse=True)
def logs() -> Iterator[list[EventDict]]:
    """What was logged so far."""
    with capture_logs() as entries:
        yield entries  # type: ignore[misc]
