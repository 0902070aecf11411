"""The weather over the run's shared servers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.valkey import ValkeyServer
from tests.integration.outages.weather import open_weather


@pytest.fixture
def weather(
    valkey_url: str,
    redis_prefix: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Any:
    return partial(
        open_weather,
        redis_url=valkey_url,
        prefix=redis_prefix,
        database_url=database_url,
        folder=tmp_path,
        monkeypatch=monkeypatch,
    )


@pytest.fixture
def weather_of_its_own(weather: Any, private_valkey: ValkeyServer) -> Any:
    """Over a Redis that the test may kill or fill."""
    return partial(weather, redis_url=private_valkey.url)


@pytest.fixture
def replica(private_valkey: ValkeyServer, tmp_path: Path) -> Iterator[ValkeyServer]:
    """Of `private_valkey`, and as durable."""
    folder = tmp_path / "replica"
    folder.mkdir()
    server = ValkeyServer(folder, "--replicaof", f"127.0.0.1 {private_valkey.port}")
    server.start()
    yield server
    server.stop()
