"""The console's operators, their sessions and their deeds."""

from __future__ import annotations

import asyncpg

from models.console import Operator, OperatorAction, OperatorSession, Role
from serve_app.store.pool import StorePool
from serve_app.store.values import text


class PostgresOperatorRepository:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def save_operator(self, operator: Operator, *, password_hash: str) -> None:
        async with self._pool.transaction() as connection:
            await connection.execute(
                """
                INSERT INTO operators (name, role, password_hash) VALUES ($1, $2, $3)
                ON CONFLICT (name) DO UPDATE SET role = excluded.role,
                    password_hash = excluded.password_hash, updated_at = now()
                """,
                text(operator.name),
                operator.role.value,
                password_hash,
            )
            await connection.execute(
                "DELETE FROM operator_sessions WHERE operator = $1", text(operator.name)
            )

    async def delete_operator(self, name: str) -> bool:
        async with self._pool.transaction() as connection:
            await connection.execute(
                "DELETE FROM operator_sessions WHERE operator = $1", text(name)
            )
            result = await connection.execute("DELETE FROM operators WHERE name = $1", text(name))
        return result == "DELETE 1"

    async def operators(self) -> list[Operator]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch("SELECT name, role FROM operators ORDER BY name")
        return [_operator(row) for row in rows]

    async def password_hash(self, name: str) -> tuple[Operator, str] | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                "SELECT name, role, password_hash FROM operators WHERE name = $1", text(name)
            )
        return None if row is None else (_operator(row), row["password_hash"])

    async def open_session(self, session: OperatorSession) -> None:
        async with self._pool.transaction() as connection:
            await connection.execute("DELETE FROM operator_sessions WHERE expires_at < now()")
            await connection.execute(
                """
                INSERT INTO operator_sessions (id_hash, operator, role, csrf_token, expires_at)
                VALUES ($1, $2, $3, $4, $5)
                """,
                session.id_hash,
                text(session.operator.name),
                session.operator.role.value,
                session.csrf_token,
                session.expires_at,
            )

    async def session(self, id_hash: str, *, idle_s: float) -> OperatorSession | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT id_hash, operator AS name, role, csrf_token, expires_at,
                    seen_at < now() - interval '1 minute' AS stale
                FROM operator_sessions
                WHERE id_hash = $1 AND expires_at > now()
                    AND seen_at > now() - make_interval(secs => $2)
                """,
                id_hash,
                idle_s,
            )
            if row is not None and row["stale"]:
                await connection.execute(
                    "UPDATE operator_sessions SET seen_at = now() WHERE id_hash = $1", id_hash
                )
        if row is None:
            return None
        return OperatorSession(
            id_hash=row["id_hash"],
            operator=_operator(row),
            csrf_token=row["csrf_token"],
            expires_at=row["expires_at"],
        )

    async def close_session(self, id_hash: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM operator_sessions WHERE id_hash = $1", id_hash)

    async def count_failure(self, name: str) -> None:
        async with self._pool.transaction() as connection:
            await connection.execute(
                "DELETE FROM sign_in_failures WHERE at < now() - interval '1 day'"
            )
            await connection.execute("INSERT INTO sign_in_failures (name) VALUES ($1)", text(name))

    async def failures(self, name: str, *, within_s: float) -> int:
        async with self._pool.connection() as connection:
            count = await connection.fetchval(
                """
                SELECT count(*) FROM sign_in_failures
                WHERE name = $1 AND at > now() - make_interval(secs => $2)
                """,
                text(name),
                within_s,
            )
        return count or 0

    async def log_action(self, action: OperatorAction) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                INSERT INTO operator_actions (operator, role, action, subject, detail)
                VALUES ($1, $2, $3, $4, $5)
                """,
                text(action.operator),
                action.role.value,
                action.action,
                text(action.subject),
                text(action.detail),
            )

    async def actions(self, *, limit: int) -> list[OperatorAction]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT at, operator, role, action, subject, detail FROM operator_actions
                ORDER BY seq DESC LIMIT $1
                """,
                limit,
            )
        return [OperatorAction(**dict(row)) for row in rows]


def _operator(row: asyncpg.Record) -> Operator:
    return Operator(name=row["name"], role=Role(row["role"]))
