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
                INSERT INTO operator_sessions
                    (id_hash, operator, role, csrf_token, expires_at, token_proof)
                VALUES ($1, $2, $3, $4, $5, $6)
                """,
                session.id_hash,
                text(session.operator.name),
                session.operator.role.value,
                session.csrf_token,
                session.expires_at,
                session.token_proof,
            )

    async def session(self, id_hash: str, *, idle_s: float) -> OperatorSession | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT id_hash, operator AS name, role, csrf_token, expires_at, token_proof, notice,
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
            token_proof=row["token_proof"],
            notice=row["notice"],
        )

    async def close_session(self, id_hash: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM operator_sessions WHERE id_hash = $1", id_hash)

    async def set_notice(self, id_hash: str, notice: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE operator_sessions SET notice = $2 WHERE id_hash = $1", id_hash, text(notice)
            )

    async def begin_attempt(self, name: str, *, within_s: float, most: int) -> bool:
        async with self._pool.transaction() as connection:
            # Until the end of the transaction: whoever guesses beside this one sees it counted.
            await connection.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('sign in ' || $1, 0))", text(name)
            )
            # Those that somebody else deletes just now aren't waited for.
            await connection.execute(
                """
                DELETE FROM sign_in_failures WHERE ctid = ANY(ARRAY(
                    SELECT ctid FROM sign_in_failures
                    WHERE at < now() - make_interval(secs => greatest($1, 86400))
                    LIMIT 1000 FOR UPDATE SKIP LOCKED
                ))
                """,
                within_s,
            )
            # now() is the transaction's beginning, which a queue before the lock has made old.
            counted = await connection.fetchval(
                """
                INSERT INTO sign_in_failures (name, at)
                SELECT $1, clock_timestamp() WHERE (
                    SELECT count(*) FROM sign_in_failures
                    WHERE name = $1 AND at > clock_timestamp() - make_interval(secs => $2)
                ) < $3
                RETURNING true
                """,
                text(name),
                within_s,
                most,
            )
        return bool(counted)

    async def forgive_attempts(self, name: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute("DELETE FROM sign_in_failures WHERE name = $1", text(name))

    async def begin_action(self, action: OperatorAction) -> int:
        async with self._pool.connection() as connection:
            return await connection.fetchval(
                """
                INSERT INTO operator_actions (operator, role, action, subject, detail, outcome)
                VALUES ($1, $2, $3, $4, $5, $6) RETURNING seq
                """,
                text(action.operator),
                action.role.value,
                action.action,
                text(action.subject),
                text(action.detail),
                text(action.outcome),
            )

    async def end_action(self, seq: int, outcome: str) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE operator_actions SET outcome = $2 WHERE seq = $1", seq, text(outcome)
            )

    async def actions(self, *, limit: int) -> list[OperatorAction]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT at, operator, role, action, subject, detail, outcome FROM operator_actions
                ORDER BY seq DESC LIMIT $1
                """,
                limit,
            )
        return [OperatorAction(**dict(row)) for row in rows]


def _operator(row: asyncpg.Record) -> Operator:
    return Operator(name=row["name"], role=Role(row["role"]))
