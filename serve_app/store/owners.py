"""Owners with their plan and assistant, what they have used, and the bookings asked of them."""

from __future__ import annotations

from datetime import datetime

import asyncpg

from models.accounts import Assistant, MonthlyUsage, Owner, Plan
from models.conversations import BookingRequest
from models.errors import PermanentError
from serve_app.ports import Clock
from serve_app.store.pool import Connection, StorePool
from serve_app.store.references import reference
from serve_app.store.usage import messages_this_month, months_of, reserve
from serve_app.store.values import jsonable, text

OWNER_COLUMNS = """
    o.id, o.name, o.timezone, o.language, o.retention_days,
    p.code, p.active, p.features, p.monthly_messages,
    s.instructions, s.language AS assistant_language, s.tools, s.facts,
    s.temperature, s.max_reply_tokens, s.settings
"""
OWNER_JOINS = "JOIN plans p ON p.code = o.plan_code JOIN assistants s ON s.owner_id = o.id"
_SELECT = f"SELECT {OWNER_COLUMNS} FROM owners o {OWNER_JOINS}"  # noqa: S608 - constants of this file

_SETTINGS = set(Assistant.model_fields) - {
    *("instructions", "language", "tools", "facts", "temperature", "max_reply_tokens")
}
"""Kept together in one column."""


class PostgresOwnerRepository:
    """`clock` decides which month it is; without one Postgres does."""

    def __init__(self, *, pool: StorePool, clock: Clock | None = None) -> None:
        self._pool = pool
        self._clock = clock

    async def get(self, owner_id: str) -> Owner | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(f"{_SELECT} WHERE o.id = $1", text(owner_id))
        return None if row is None else owner_of_row(row)

    async def list_all(self) -> list[Owner]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(f'{_SELECT} ORDER BY o.id COLLATE "C"')
        return [owner_of_row(row) for row in rows]

    async def save(self, owner: Owner) -> None:
        """A plan is shared by all owners with its code. Raises `PermanentError` if the time zone isn't
        one that Postgres knows."""
        async with self._pool.transaction() as connection:
            await save_owner(connection, owner)

    async def usage(self, owner_id: str, *, months: int) -> list[MonthlyUsage]:
        async with self._pool.connection() as connection:
            return await months_of(connection, owner_id, months=months)

    async def messages_this_month(self, owner_id: str) -> int:
        async with self._pool.connection() as connection:
            return await messages_this_month(connection, owner_id, now=self._now())

    async def reserve_turn(self, owner_id: str, *, turn_id: str) -> bool:
        async with self._pool.transaction() as connection:
            return await reserve(connection, owner_id, turn_id=turn_id, now=self._now())

    def _now(self) -> datetime | None:
        return None if self._clock is None else self._clock.now()

    async def request_booking(self, request: BookingRequest, *, key: str) -> str:
        async with self._pool.transaction() as connection:
            # The owner's row is what concurrent requests, of the same key too, wait for.
            number = await connection.fetchval(
                "SELECT booking_seq FROM owners WHERE id = $1 FOR NO KEY UPDATE", request.owner_id
            )
            if number is None:
                raise PermanentError(f"there is no owner {request.owner_id}")
            known = await connection.fetchval(
                "SELECT reference FROM bookings WHERE owner_id = $1 AND key = $2",
                request.owner_id,
                text(key),
            )
            if known is not None:
                return known
            new = reference(number)
            await connection.execute(
                """
                INSERT INTO bookings (owner_id, reference, key, conversation_id, people, day, time)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                """,
                request.owner_id,
                new,
                text(key),
                request.conversation_id,
                request.people,
                text(request.day),
                text(request.time),
            )
            await connection.execute(
                "UPDATE owners SET booking_seq = booking_seq + 1 WHERE id = $1", request.owner_id
            )
        return new


async def save_owner(connection: Connection, owner: Owner) -> None:
    """Within the caller's transaction."""
    # Months are counted in it: better refused here than at every turn.
    await connection.fetchval("SELECT now() AT TIME ZONE $1", owner.timezone)
    await _save_plan(connection, owner.plan)
    await connection.execute(
        """
        INSERT INTO owners (id, name, timezone, language, plan_code, retention_days)
        VALUES ($1, $2, $3, $4, $5, $6)
        ON CONFLICT (id) DO UPDATE SET
            name = excluded.name,
            timezone = excluded.timezone,
            language = excluded.language,
            plan_code = excluded.plan_code,
            retention_days = excluded.retention_days,
            updated_at = now()
        """,
        owner.id,
        owner.name,
        owner.timezone,
        owner.language,
        owner.plan.code,
        owner.retention_days,
    )
    await _save_assistant(connection, owner.id, owner.assistant)


async def _save_plan(connection: Connection, plan: Plan) -> None:
    await connection.execute(
        """
        INSERT INTO plans (code, active, features, monthly_messages) VALUES ($1, $2, $3, $4)
        ON CONFLICT (code) DO UPDATE SET
            active = excluded.active,
            features = excluded.features,
            monthly_messages = excluded.monthly_messages,
            updated_at = now()
        """,
        plan.code,
        plan.active,
        sorted(plan.features),
        plan.monthly_messages,
    )


async def _save_assistant(connection: Connection, owner_id: str, assistant: Assistant) -> None:
    await connection.execute(
        """
        INSERT INTO assistants
            (owner_id, instructions, language, tools, facts, temperature, max_reply_tokens, settings)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
        ON CONFLICT (owner_id) DO UPDATE SET
            instructions = excluded.instructions,
            language = excluded.language,
            tools = excluded.tools,
            facts = excluded.facts,
            temperature = excluded.temperature,
            max_reply_tokens = excluded.max_reply_tokens,
            settings = excluded.settings,
            updated_at = now()
        """,
        owner_id,
        assistant.instructions,
        assistant.language,
        list(assistant.tools),
        jsonable(assistant.facts),
        assistant.temperature,
        assistant.max_reply_tokens,
        jsonable(assistant.model_dump(mode="json", include=_SETTINGS)),
    )


def owner_of_row(row: asyncpg.Record) -> Owner:
    return Owner(
        id=row["id"],
        name=row["name"],
        timezone=row["timezone"],
        language=row["language"],
        plan=Plan(
            code=row["code"],
            active=row["active"],
            features=frozenset(row["features"]),
            monthly_messages=row["monthly_messages"],
        ),
        assistant=Assistant(
            instructions=row["instructions"],
            language=row["assistant_language"],
            tools=tuple(row["tools"]),
            facts=row["facts"],
            temperature=row["temperature"],
            max_reply_tokens=row["max_reply_tokens"],
            **row["settings"],
        ),
        retention_days=row["retention_days"],
    )
