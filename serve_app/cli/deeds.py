"""What commands do goes on the same record as the console's deeds, under the name of who runs them."""

from __future__ import annotations

import getpass
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from models.console import Operator, Role
from serve_app.console.deeds import Deed, on_record

if TYPE_CHECKING:
    from serve_app.store.pool import StorePool


def by_command(
    pool: StorePool, action: str, subject: str, detail: str = ""
) -> AbstractAsyncContextManager[Deed]:
    """Whoever has the command line has the stores, and so every right."""
    from serve_app.store.operators import PostgresOperatorRepository

    operator = Operator(name=f"{_user()} (command line)", role=Role.ADMINISTER)
    return on_record(PostgresOperatorRepository(pool=pool), operator, action, subject, detail)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        # A container's user often has no name.
        return "somebody"
