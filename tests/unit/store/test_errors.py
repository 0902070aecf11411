"""asyncpg's errors and ours."""

from __future__ import annotations

import asyncpg
import pytest

from models.errors import PermanentError, StoreUnavailableError
from serve_app.store.errors import translate_errors, translation


@pytest.mark.parametrize(
    "error",
    [
        ConnectionRefusedError(),
        TimeoutError(),
        asyncpg.CannotConnectNowError("starting"),
        asyncpg.ConnectionDoesNotExistError("gone"),
        asyncpg.AdminShutdownError("bye"),
        asyncpg.DeadlockDetectedError("deadlock"),
        asyncpg.ReadOnlySQLTransactionError("standby"),
        asyncpg.UndefinedTableError("not migrated yet"),
        asyncpg.InterfaceError("connection is closed"),
    ],
)
def test_worth_another_try(error: Exception) -> None:
    with pytest.raises(StoreUnavailableError) as caught, translate_errors():
        raise error
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.ForeignKeyViolationError("Key (owner_id)=(secret) is not present"),
        asyncpg.InvalidParameterValueError("secret"),
        asyncpg.exceptions._base.DataError("secret"),
    ],
)
def test_never_possible(error: Exception) -> None:
    with pytest.raises(PermanentError) as caught, translate_errors():
        raise error
    assert "secret" not in str(caught.value)


def test_not_the_databases_doing() -> None:
    with pytest.raises(KeyError), translate_errors():
        raise KeyError("bug")
    assert translation(ValueError("bug")) is None


@pytest.mark.parametrize(
    ("error", "away"),
    [
        (ConnectionRefusedError(), True),
        (TimeoutError(), True),
        (asyncpg.CannotConnectNowError("starting"), True),
        (asyncpg.AdminShutdownError("bye"), True),
        (asyncpg.ReadOnlySQLTransactionError("standby"), True),
        (asyncpg.DiskFullError("full"), True),
        (asyncpg.DeadlockDetectedError("deadlock"), False),
        (asyncpg.UndefinedColumnError("a bug"), False),
    ],
)
def test_whether_the_server_or_the_work_is_at_fault(error: Exception, away: bool) -> None:
    ours = translation(error)
    assert isinstance(ours, StoreUnavailableError)
    assert ours.away is away
