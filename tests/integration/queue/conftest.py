from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from redis.asyncio import Redis

from serve_app.queue.connection import connect
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings

Opened = tuple[QueueService, Redis]


@pytest.fixture
async def open_queue(redis_prefix: str) -> AsyncIterator[Callable[..., Opened]]:
    """Opens a queue on a server, with settings to taste; connections are closed at the end."""
    clients: list[Redis] = []

    def open_one(url: str, **changes: float | str | bool) -> Opened:
        settings = QueueSettings(**{"prefix": redis_prefix, **changes})
        clients.append(connect(url, settings))
        return QueueService(redis=clients[-1], name="inbound", settings=settings), clients[-1]

    yield open_one
    for client in clients:
        await client.aclose()
