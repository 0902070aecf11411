"""The store that a test speaks to: Postgres, then the one in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.contract.store_samples import STORES, Store, open_store


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with open_store(request) as opened:
        yield opened
