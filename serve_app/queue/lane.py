"""Commands of many tasks on one connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from redis.asyncio import Redis, RedisCluster
from redis.exceptions import ConnectionError as RedisConnectionError

from serve_app.queue.wire import Arg, Connection, Wire

AGAIN_AFTER_S = 0.05
"""Before a command whose connection was lost is sent once more."""


class Pool(Protocol):
    """What is used of redis-py's, which is untyped."""

    async def get_connection(self) -> Connection: ...

    async def release(self, connection: Connection) -> None: ...


class CommandLane:
    """Sends commands on a connection that it takes out of the client's pool and keeps, so that none of them
    waits for another's answer and none pays for a connection's way out of the pool and back.

    Of many at a time the client's part costs a fraction, and the server syncs its log once for all that
    arrived together. Each script stays atomic by itself, and one command's error is its own. A command
    whose connection is lost is sent once more, as by the client itself: see `connect`. The connection closes
    with the client.
    """

    def __init__(self, redis: Redis, *, limit_s: float) -> None:
        """A server that owes an answer for `limit_s` is taken for gone."""
        self._limit_s = limit_s
        self._alone = cast("Callable[..., Awaitable[Any]]", redis.execute_command)  # pyright: ignore[reportUnknownMemberType] - untyped there
        # Of a cluster, each command goes to another node.
        self._pool = (
            None if isinstance(redis, RedisCluster) else cast("Pool", redis.connection_pool)
        )
        self._wire: Wire | None = None
        self._opening: asyncio.Task[Wire] | None = None

    async def execute(self, *command: Arg) -> Any:
        """Raises what redis-py raises."""
        if self._pool is None:
            return await self._alone(*command)
        wire = self._wire
        if wire is None or wire.lost:
            wire = await self._open(self._pool)
        try:
            return await wire.ask(command)
        except RedisConnectionError:
            await asyncio.sleep(AGAIN_AFTER_S)
        wire = await self._open(self._pool)
        return await wire.ask(command)

    async def _open(self, pool: Pool) -> Wire:
        """The wire, opened by whoever comes first for all that wait for it."""
        if self._wire is not None and not self._wire.lost:
            return self._wire
        if self._opening is None:
            self._opening = asyncio.create_task(self._connect(pool))
            self._opening.add_done_callback(self._opened)
        # Whoever stops waiting doesn't take it from the others; the connection's own limits end it.
        return await asyncio.shield(self._opening)

    async def _connect(self, pool: Pool) -> Wire:
        if self._wire is not None:
            await self._wire.leave(pool.release)
            self._wire = None
        self._wire = Wire(await pool.get_connection(), limit_s=self._limit_s)
        return self._wire

    def _opened(self, task: asyncio.Task[Wire]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # told to those who wait, if anybody still does
