"""What owners used, by month, and the places in a quota that running turns hold.

Whoever changes an owner's month locks its row first, so that places and count always agree.
"""

from __future__ import annotations

from datetime import date, datetime

from models.accounts import MonthlyUsage
from models.errors import PermanentError, RetryableError
from serve_app.store.pool import Connection
from serve_app.store.values import text

KEPT_S = 3600.0
"""A place that no commit has used for so long is free again: its turn was given up."""


def month_sql(now: str) -> str:
    """The month that it is where owner `o` is; `now` is an argument, NULL for Postgres' own clock."""
    return f"date_trunc('month', coalesce({now}::timestamptz, now()) AT TIME ZONE o.timezone)::date"


_MONTH = month_sql("$2")

COUNT_SEGMENTS = f"""
    INSERT INTO usage AS u (owner_id, month, sms_segments)
    SELECT o.id, {_MONTH}, accepted.segments FROM accepted
    JOIN conversations v ON v.id = accepted.conversation_id JOIN owners o ON o.id = v.owner_id
    WHERE accepted.segments > 0
    ON CONFLICT (owner_id, month) DO UPDATE SET
        sms_segments = u.sms_segments + excluded.sms_segments, updated_at = now()
"""  # noqa: S608 - a constant of this file
"""What ends a statement whose `accepted` is an SMS that the provider took; $2 is now, or NULL."""


async def months_of(connection: Connection, owner_id: str, *, months: int) -> list[MonthlyUsage]:
    rows = await connection.fetch(
        """
        SELECT month, messages, audio_seconds, prompt_tokens, completion_tokens, sms_segments
        FROM usage
        WHERE owner_id = $1 ORDER BY month DESC LIMIT $2
        """,
        text(owner_id),
        months,
    )
    return [MonthlyUsage(**dict(row)) for row in rows]


async def messages_this_month(
    connection: Connection, owner_id: str, *, now: datetime | None
) -> int:
    count = await connection.fetchval(
        f"""
        SELECT u.messages FROM usage u JOIN owners o ON o.id = u.owner_id
        WHERE u.owner_id = $1 AND u.month = {_MONTH}
        """,  # noqa: S608 - a constant of this file
        text(owner_id),
        now,
    )
    return count or 0


async def reserve(
    connection: Connection, owner_id: str, *, turn_id: str, now: datetime | None
) -> bool:
    """Within the caller's transaction. Raises `PermanentError` if there is no such owner."""
    row = await connection.fetchrow(
        f"""
        INSERT INTO usage AS u (owner_id, month) SELECT o.id, {_MONTH} FROM owners o WHERE o.id = $1
        ON CONFLICT (owner_id, month) DO UPDATE SET updated_at = now()
        RETURNING u.month, u.messages,
            (SELECT p.monthly_messages FROM owners o JOIN plans p ON p.code = o.plan_code
             WHERE o.id = $1) AS quota
        """,  # noqa: S608 - a constant of this file
        text(owner_id),
        now,
    )
    if row is None:
        raise PermanentError(f"there is no owner {owner_id}")
    if row["quota"] is None:
        return True
    await connection.execute(
        """
        DELETE FROM reservations
        WHERE owner_id = $1 AND (month <> $2 OR updated_at < now() - make_interval(secs => $3))
        """,
        owner_id,
        row["month"],
        KEPT_S,
    )
    held = await connection.fetchval(
        "UPDATE reservations SET updated_at = now() WHERE turn_id = $1 RETURNING true", turn_id
    )
    if held:
        return True
    if row["messages"] + await _held(connection, owner_id, row["month"]) >= row["quota"]:
        return False
    await connection.execute(
        "INSERT INTO reservations (turn_id, owner_id, month) VALUES ($1, $2, $3)",
        turn_id,
        owner_id,
        row["month"],
    )
    return True


async def keep_within_quota(
    connection: Connection, owner_id: str, *, month: date, quota: int, used: int
) -> None:
    """For a turn that was counted without a place, within its transaction, which holds the month's lock.
    Raises `RetryableError` if that is one too many."""
    if used + await _held(connection, owner_id, month) > quota:
        raise RetryableError("the turn lost its place in the month's quota, and there is no other")


async def count_segments(connection: Connection, reply_id: str, *, now: datetime | None) -> None:
    """Add an SMS that the provider has accepted to its owner's month, within the caller's transaction."""
    await connection.execute(
        f"""
        WITH accepted AS (SELECT conversation_id, segments FROM replies WHERE id = $1)
        {COUNT_SEGMENTS}
        """,  # noqa: S608 - constants of this file
        reply_id,
        now,
    )


async def _held(connection: Connection, owner_id: str, month: date) -> int:
    return await connection.fetchval(
        "SELECT count(*) FROM reservations WHERE owner_id = $1 AND month = $2", owner_id, month
    )
