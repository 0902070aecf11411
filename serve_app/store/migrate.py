"""Brings a database to the current schema.

The migrations are `migrations/*.sql`, applied by pogo-core on the very connection that holds the
advisory lock: if the process dies, Postgres releases the lock together with the open transaction.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import structlog
from pogo_core.error import BadMigrationError
from pogo_core.util.migrate import apply

from models.errors import PermanentError, StoreUnavailableError
from serve_app.settings import StoreSettings
from serve_app.store.errors import translate_errors

MIGRATIONS = Path(__file__).parent / "migrations"
SCHEMA = "public"

_LOCK = 0x5245_4341_444F  # "RECADO"; the key is ours alone within a database

log = structlog.get_logger(__name__)


async def migrate(dsn: str, settings: StoreSettings) -> None:
    """Apply the migrations that are missing; safe to call from any number of processes at once.

    Raises `StoreUnavailableError` if the server can't be reached, or if the migrations (others'
    included, whose end is waited for) aren't done after `settings.migrate_timeout_s` seconds, and
    `PermanentError` if a migration fails; a failed migration leaves nothing behind.
    """
    try:
        async with asyncio.timeout(settings.migrate_timeout_s):
            with translate_errors():
                connection = await asyncpg.connect(dsn, timeout=settings.connect_timeout_s)
                try:
                    await _migrate(connection)
                finally:
                    await connection.close(timeout=settings.connect_timeout_s)
    except TimeoutError as error:
        raise StoreUnavailableError(
            f"the database was not migrated within {settings.migrate_timeout_s:g} s"
        ) from error


async def _migrate(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    # A session lock, released by closing the connection: each migration has its own transaction.
    await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        await apply(connection, MIGRATIONS, schema_name=SCHEMA, logger=log)
    except BadMigrationError as error:
        cause = error.__cause__
        if connection.is_closed() and cause is not None:
            raise cause from error
        raise PermanentError(f"{error}: {cause}") from error
