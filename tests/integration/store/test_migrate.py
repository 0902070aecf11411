"""Migrations on a real Postgres."""

from __future__ import annotations

import asyncio
import sys
import time

import asyncpg
import pytest

from models.errors import StoreUnavailableError
from serve_app.settings import StoreSettings
from serve_app.store.migrate import MIGRATIONS, migrate

pytestmark = pytest.mark.integration


async def _applied(dsn: str) -> list[str]:
    connection = await asyncpg.connect(dsn, timeout=5)
    try:
        rows = await connection.fetch("SELECT migration_id FROM _pogo_migration ORDER BY 1")
        return [row["migration_id"] for row in rows]
    finally:
        await connection.close(timeout=5)


async def test_repeats_nothing(empty_database_url: str) -> None:
    await migrate(empty_database_url, StoreSettings())
    await migrate(empty_database_url, StoreSettings())

    assert await _applied(empty_database_url) == sorted(p.stem for p in MIGRATIONS.glob("*.sql"))


async def test_tasks_at_once(empty_database_url: str) -> None:
    await asyncio.gather(*(migrate(empty_database_url, StoreSettings()) for _ in range(4)))

    assert await _applied(empty_database_url) == sorted(p.stem for p in MIGRATIONS.glob("*.sql"))


async def test_processes_at_once(empty_database_url: str) -> None:
    program = (
        "import asyncio, sys\n"
        "from serve_app.settings import StoreSettings\n"
        "from serve_app.store.migrate import migrate\n"
        "asyncio.run(migrate(sys.argv[1], StoreSettings()))\n"
    )
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, empty_database_url, stderr=asyncio.subprocess.PIPE
        )
        for _ in range(4)
    ]
    outputs = await asyncio.gather(*(process.communicate() for process in processes))

    assert [process.returncode for process in processes] == [0] * 4, outputs
    assert await _applied(empty_database_url) == sorted(p.stem for p in MIGRATIONS.glob("*.sql"))


async def test_waits_no_longer_than_asked(empty_database_url: str) -> None:
    holder = await asyncpg.connect(empty_database_url, timeout=5)
    try:
        await holder.execute("SELECT pg_advisory_lock($1)", 0x5245_4341_444F)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"0\.3 s"):
            await migrate(empty_database_url, StoreSettings(migrate_timeout_s=0.3))
        assert time.monotonic() - started < 3
    finally:
        await holder.close(timeout=5)
    await migrate(empty_database_url, StoreSettings())


async def test_no_server() -> None:
    with pytest.raises(StoreUnavailableError):
        await migrate("postgresql://postgres@127.0.0.1:1/postgres", StoreSettings())
