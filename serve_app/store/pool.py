"""The connection pool: the one place where Postgres' failures and time limits are dealt with."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TypeAlias

import asyncpg
import structlog
from asyncpg.pool import Pool, PoolConnectionProxy

from serve_app.settings import StoreSettings
from serve_app.store.errors import translate_errors, translation

Connection: TypeAlias = "PoolConnectionProxy[asyncpg.Record]"

IDLE_IN_TRANSACTION_S = 60
"""A process that stalls inside a transaction loses it, and its row locks, after this long."""

log = structlog.get_logger(__name__)


class StatelessConnection(asyncpg.Connection):  # pyright: ignore[reportMissingTypeArgument] -- generic in the stubs only
    """Nothing here changes a session (locks are of transactions), so giving a connection back needs no
    round trip that resets it; asyncpg rolls an open transaction back all the same. That round trip was
    an eighth of a worker's time."""

    def get_reset_query(self) -> str:
        return ""


class StorePool:
    """An asyncpg pool whose every acquisition and command has a time limit.

    What goes wrong inside `connection()` or `transaction()` is raised as `StoreUnavailableError` (try
    again) or `PermanentError` (a value that Postgres can't hold). The pool outlives the server:
    connections that died are replaced when they are next needed.
    """

    def __init__(self, pool: Pool[asyncpg.Record], *, acquire_timeout_s: float) -> None:
        self._pool = pool
        self._acquire_timeout_s = acquire_timeout_s

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Each statement is a transaction of its own."""
        with translate_errors():
            async with self._pool.acquire(timeout=self._acquire_timeout_s) as connection:
                yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """Committed at the end of the block, rolled back if the block raises."""
        async with self.connection() as connection, connection.transaction():
            yield connection


@asynccontextmanager
async def open_pool(dsn: str, settings: StoreSettings) -> AsyncGenerator[StorePool]:
    """Raises `StoreUnavailableError` if the server can't be reached now."""
    pool = asyncpg.create_pool(
        dsn,
        min_size=0,  # the first connections are opened by `_warm`, where a failure leaves none behind
        max_size=settings.pool_max,
        timeout=settings.connect_timeout_s,
        command_timeout=settings.command_timeout_s,
        init=_prepare,
        connection_class=StatelessConnection,
        server_settings={
            "application_name": "recado",
            "idle_in_transaction_session_timeout": str(IDLE_IN_TRANSACTION_S * 1000),
        },
    )
    with translate_errors():
        await pool
    try:
        store = StorePool(pool, acquire_timeout_s=settings.acquire_timeout_s)
        await _warm(store, max(1, min(settings.pool_min, settings.pool_max)))
        yield store
    finally:
        await _close(pool, timeout_s=settings.connect_timeout_s)


async def ping(pool: StorePool) -> None:
    """Raises `StoreUnavailableError` unless Postgres answers."""
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")


async def _warm(pool: StorePool, count: int) -> None:
    results = await asyncio.gather(*(ping(pool) for _ in range(count)), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _close(pool: Pool[asyncpg.Record], *, timeout_s: float) -> None:
    """Wait for connections in use, not longer than `timeout_s`; cut them off then."""
    try:
        async with asyncio.timeout(timeout_s):
            await pool.close()
    except Exception as error:
        if translation(error) is None:
            raise
        pool.terminate()
        log.warning("postgres_pool_cut_off", error=type(error).__name__)


async def _prepare(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """JSONB columns are read and written as Python values."""
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
