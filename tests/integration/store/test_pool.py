"""The pool against a server that goes away, is slow, or isn't there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from models.errors import PermanentError, StoreUnavailableError
from serve_app.settings import StoreSettings
from serve_app.store.migrate import migrate
from serve_app.store.pool import StorePool, open_pool, ping
from serve_app.store.spool import PostgresSpoolRepository
from tests.fixtures.postgres import Postgres

pytestmark = pytest.mark.integration

SETTINGS = StoreSettings(
    pool_max=2, connect_timeout_s=2.0, command_timeout_s=0.5, acquire_timeout_s=0.5
)


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[StorePool]:
    async with open_pool(database_url, SETTINGS) as opened:
        yield opened


async def test_restart_under_a_pool(private_postgres: Postgres) -> None:
    dsn = private_postgres.create_database()
    await migrate(dsn, StoreSettings())
    async with open_pool(dsn, StoreSettings(pool_min=3, pool_max=3)) as pool:
        spool = PostgresSpoolRepository(pool=pool)
        assert await spool.count() == 0
        for _ in range(2):
            private_postgres.stop()
            for _ in range(4):
                with pytest.raises(StoreUnavailableError):
                    await spool.count()
            with pytest.raises(StoreUnavailableError):
                await ping(pool)
            private_postgres.start()
            # As many as there are connections: none of them may be a dead one.
            assert await asyncio.gather(*(spool.count() for _ in range(3))) == [0, 0, 0]


async def test_restart_in_a_transaction(private_postgres: Postgres) -> None:
    dsn = private_postgres.create_database()
    await migrate(dsn, StoreSettings())

    async def write_across_a_restart(pool: StorePool) -> None:
        async with pool.transaction() as connection:
            await connection.execute(
                "INSERT INTO plans (code, active, features) VALUES ('p', true, '{}')"
            )
            private_postgres.stop()
            private_postgres.start()

    async with open_pool(dsn, StoreSettings()) as pool:
        with pytest.raises(StoreUnavailableError):
            await write_across_a_restart(pool)
        async with pool.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM plans") == 0


async def test_down_at_the_start(private_postgres: Postgres) -> None:
    dsn = private_postgres.dsn()
    private_postgres.stop()
    started = time.monotonic()
    for address in (dsn, "postgresql://postgres@127.0.0.1:1/postgres"):
        with pytest.raises(StoreUnavailableError):
            async with open_pool(address, SETTINGS):
                raise AssertionError("nothing to talk to")
    assert time.monotonic() - started < 5
    private_postgres.start()
    async with open_pool(dsn, SETTINGS) as pool:
        await ping(pool)


async def test_a_server_that_says_nothing() -> None:
    given_up = asyncio.Event()

    async def say_nothing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await given_up.wait()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings = SETTINGS.model_copy(update={"connect_timeout_s": 0.3})
    started = time.monotonic()
    try:
        with pytest.raises(StoreUnavailableError):
            async with open_pool(f"postgresql://p@127.0.0.1:{port}/p?sslmode=disable", settings):
                raise AssertionError("nothing to talk to")
        assert time.monotonic() - started < 3
    finally:
        given_up.set()
        await asyncio.sleep(0.05)
        server.close()
        await server.wait_closed()


async def test_a_slow_command(pool: StorePool) -> None:
    with pytest.raises(StoreUnavailableError, match="TimeoutError"):
        async with pool.connection() as connection:
            await connection.execute("SELECT pg_sleep(5)")
    await ping(pool)


async def test_a_busy_pool(pool: StorePool) -> None:
    async with pool.connection(), pool.connection():
        with pytest.raises(StoreUnavailableError):
            await ping(pool)
    await ping(pool)


async def test_rolled_back_on_any_error(pool: StorePool) -> None:
    async def fail() -> None:
        async with pool.transaction() as connection:
            await connection.execute(
                "INSERT INTO plans (code, active, features) VALUES ('p', true, '{}')"
            )
            raise KeyError("a bug of ours")

    with pytest.raises(KeyError):
        await fail()
    async with pool.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM plans") == 0


async def test_a_value_that_does_not_fit(pool: StorePool) -> None:
    with pytest.raises(PermanentError):
        async with pool.connection() as connection:
            await connection.fetchval("SELECT $1::integer", 2**40)
    with pytest.raises(PermanentError):
        async with pool.connection() as connection:
            await connection.fetchval("SELECT $1::text", "nul \x00")


async def test_a_locked_row_is_not_waited_for_for_ever(pool: StorePool, database_url: str) -> None:
    other = await asyncpg.connect(database_url, timeout=5)
    try:
        await other.execute("BEGIN; LOCK TABLE plans")
        with pytest.raises(StoreUnavailableError):
            async with pool.connection() as connection:
                await connection.fetchval("SELECT count(*) FROM plans")
    finally:
        await other.close(timeout=5)
    await ping(pool)


async def test_a_stalled_transaction_loses_its_locks(pool: StorePool) -> None:
    async with pool.connection() as connection:
        limit = await connection.fetchval("SHOW idle_in_transaction_session_timeout")
    assert limit == "1min"


async def test_closing_does_not_wait_for_ever(database_url: str) -> None:
    settings = SETTINGS.model_copy(update={"connect_timeout_s": 0.3})
    async with open_pool(database_url, settings) as pool:
        held = pool.connection()
        await held.__aenter__()
        started = time.monotonic()
    assert time.monotonic() - started < 2
    await held.__aexit__(None, None, None)
