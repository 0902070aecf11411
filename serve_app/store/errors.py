"""Where asyncpg's errors become ours."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import asyncpg

from models.errors import PermanentError, RecadoError, StoreUnavailableError

_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_FAILED = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
    TimeoutError,
)
"""The server is gone, stopping, starting, full, a replica, or hangs: whatever the statement was."""


def translation(error: BaseException) -> RecadoError | None:
    """The error of our tree that stands for `error`; None if it isn't the database's doing.

    Only values that Postgres can never take are permanent. All else may pass with time, without
    this process doing anything about it: a restart, a failover to a server that is still read-only,
    a password or a migration that is being changed, a deadlock, a full disk.

    Messages name the kind of error only: a driver's own text may quote rows.
    """
    if isinstance(error, _REFUSED):
        return PermanentError(f"Postgres refused a value: {type(error).__name__}")
    if isinstance(error, asyncpg.InterfaceError) and isinstance(error, ValueError):
        return PermanentError("a value doesn't fit its column")
    if isinstance(error, _FAILED):
        return StoreUnavailableError(
            f"Postgres is unavailable: {type(error).__name__}", away=isinstance(error, _AWAY)
        )
    return None


@contextmanager
def translate_errors() -> Generator[None]:
    try:
        yield
    except Exception as error:
        ours = translation(error)
        if ours is None:
            raise
        raise ours from error
