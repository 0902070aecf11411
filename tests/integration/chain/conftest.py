"""The house that the chain's tests open, over this run's servers."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.integration.chain.house import Open, open_house


@pytest.fixture
def house(
    valkey_url: str,
    redis_prefix: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Open:
    return partial(
        open_house,
        redis_url=valkey_url,
        prefix=redis_prefix,
        database_url=database_url,
        folder=tmp_path,
        monkeypatch=monkeypatch,
    )
