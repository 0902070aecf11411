"""Whether Postgres keeps what it is given: its durability settings, and its clock."""

from __future__ import annotations

import time

from models.errors import RecadoError
from models.findings import Finding, clock_finding
from serve_app.store.pool import StorePool

CLOCK_LIMIT_S = 2.0
_LOST = "a committed reply is lost when Postgres' machine dies, and may be sent twice"
_ASKED = ("server_version_num", "synchronous_commit", "fsync", "full_page_writes")


async def inspect_postgres(pool: StorePool) -> list[Finding]:
    """Never raises for what Postgres answers or doesn't."""
    try:
        async with pool.connection() as connection:
            values = {
                name: str(await connection.fetchval("SELECT current_setting($1)", name))
                for name in _ASKED
            }
            began = time.time()
            there = await connection.fetchval(
                "SELECT extract(epoch FROM clock_timestamp())::float8"
            )
            ahead_s = float(there) - (began + time.time()) / 2
            turns = await connection.fetchval("SELECT to_regclass('turns') IS NOT NULL")
    except RecadoError as error:
        action = "Start it, or mend RECADO_DATABASE_URL."
        return [Finding(check="postgres", level="failed", text=str(error), action=action)]
    version = int(values["server_version_num"])
    return [
        Finding(
            check="postgres version",
            level="ok" if version >= 140_000 else "warning",
            text=f"PostgreSQL {version // 10_000}.{version % 10_000}",
            action="" if version >= 140_000 else "Use PostgreSQL 14 or later.",
        ),
        _setting("synchronous_commit", values, accepted=("on", "remote_apply", "remote_write")),
        _setting("fsync", values, accepted=("on",)),
        _setting("full_page_writes", values, accepted=("on",)),
        Finding(check="postgres schema", level="ok", text="migrated")
        if turns
        else Finding(
            check="postgres schema",
            level="failed",
            text="there are no tables",
            action="Start the service once: it migrates the database.",
        ),
        clock_finding("postgres clock", ahead_s, limit_s=CLOCK_LIMIT_S),
    ]


def _setting(name: str, values: dict[str, str], *, accepted: tuple[str, ...]) -> Finding:
    value = values[name]
    check = f"postgres {name}"
    if value in accepted:
        return Finding(check=check, level="ok", text=value)
    return Finding(
        check=check,
        level="failed",
        text=f"{value}: {_LOST}",
        action=f"Set {name} = {accepted[0]} in postgresql.conf, or for the database or role of the service.",
    )
