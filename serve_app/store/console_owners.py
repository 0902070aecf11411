"""Owners as the console lists them, and their accounts without any secret."""

from __future__ import annotations

from models.accounts import PhoneNumber
from models.console import AccountLine, OwnerLine, OwnerPage
from serve_app.store.pool import Connection
from serve_app.store.values import pattern, text

_OWNERS = """
    SELECT o.id, o.name, o.timezone, o.language, p.code AS plan, p.active, p.monthly_messages,
        coalesce(u.messages, 0) AS used
    FROM owners o JOIN plans p ON p.code = o.plan_code
    LEFT JOIN usage u ON u.owner_id = o.id
        AND u.month = date_trunc('month', now() AT TIME ZONE o.timezone)::date
    WHERE ($1::text IS NULL OR o.id COLLATE "C" > $1 COLLATE "C")
        AND ($2::text IS NULL OR o.name ILIKE $2 OR o.id ILIKE $2)
    ORDER BY o.id COLLATE "C" LIMIT $3
"""
_ACCOUNTS = """
    SELECT id, channel, account_sid, messaging_service_sid, active, phone_numbers
    FROM twilio_accounts WHERE owner_id = $1 ORDER BY id COLLATE "C"
"""


async def list_owners(
    connection: Connection, *, search: str, after: str | None, limit: int
) -> OwnerPage:
    words = (text(search) or "").strip()
    rows = await connection.fetch(
        _OWNERS, text(after), f"%{pattern(words)}%" if words else None, limit + 1
    )
    shown = tuple(OwnerLine(**dict(row)) for row in rows[:limit])
    total = await connection.fetchval("SELECT count(*) FROM owners")
    return OwnerPage(
        owners=shown, total=total or 0, after=shown[-1].id if len(rows) > limit else None
    )


async def accounts_of(connection: Connection, owner_id: str) -> list[AccountLine]:
    rows = await connection.fetch(_ACCOUNTS, text(owner_id))
    return [
        AccountLine(
            id=row["id"],
            channel=row["channel"],
            account_sid=row["account_sid"],
            messaging_service_sid=row["messaging_service_sid"],
            active=row["active"],
            numbers=tuple(PhoneNumber(**number).address for number in row["phone_numbers"]),
        )
        for row in rows
    ]
