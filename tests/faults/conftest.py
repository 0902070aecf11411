"""The small campaign's stores: started once, killed by many."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.campaign import Context
from tests.faults.servers import Servers

SEED = int(os.environ.get("FAULTS_SEED", "1"))
"""The same in every run, so that a red one means a change; another finds what this one can't."""


@pytest.fixture(scope="session")
def fault_servers() -> Iterator[Servers]:
    servers = Servers()
    try:
        asyncio.run(servers.start())
        yield servers
    finally:
        asyncio.run(servers.close())


@pytest.fixture
def context(fault_servers: Servers, tmp_path: Path, request: pytest.FixtureRequest) -> Context:
    return Context(
        fault_servers, tmp_path, "small", SEED, lambda: request.getfixturevalue("product")
    )
