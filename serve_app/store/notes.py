"""Notes to owners: written with the turn that causes them, taken by whoever delivers them."""

from __future__ import annotations

from models.conversations import Note
from serve_app.store.pool import StorePool
from serve_app.store.values import text


class PostgresNoteRepository:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def take_due(self, *, limit: int, lease_s: float) -> list[Note]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                WITH due AS (
                    SELECT id FROM notes WHERE done_at IS NULL AND next_at <= now()
                    ORDER BY next_at LIMIT $1 FOR UPDATE SKIP LOCKED
                ), taken AS (
                    UPDATE notes n SET attempts = n.attempts + 1,
                        next_at = now() + make_interval(secs => $2), updated_at = now()
                    FROM due WHERE n.id = due.id
                    RETURNING n.*
                )
                SELECT t.id, t.kind, t.destination, t.target, t.content, t.owner_id,
                    t.conversation_id, t.attempts - 1 AS attempts, t.created_at,
                    v.account_id, v.channel, v.account_sid, v.recipient AS sender
                FROM taken t JOIN conversations v ON v.id = t.conversation_id
                ORDER BY t.created_at
                """,
                limit,
                lease_s,
            )
        return [Note(**dict(row)) for row in rows]

    async def retry(
        self, note_id: str, *, delay_s: float, error: str, counted: bool = True
    ) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                UPDATE notes SET next_at = now() + make_interval(secs => $2), error = $3,
                    attempts = attempts - (NOT $4::boolean)::int, updated_at = now()
                WHERE id = $1 AND done_at IS NULL
                """,
                note_id,
                delay_s,
                text(error),
                counted,
            )

    async def settle(self, note_id: str, *, error: str | None = None) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                UPDATE notes SET done_at = now(), error = $2, updated_at = now()
                WHERE id = $1 AND done_at IS NULL
                """,
                note_id,
                text(error),
            )

    async def not_delivered(self, note_id: str, *, account_sid: str, error: str) -> bool:
        async with self._pool.connection() as connection:
            found = await connection.fetchval(
                """
                UPDATE notes n SET done_at = coalesce(n.done_at, now()), error = $3,
                    updated_at = now()
                FROM conversations v
                WHERE n.id = $1 AND v.id = n.conversation_id AND v.account_sid = $2
                RETURNING true
                """,
                text(note_id),
                text(account_sid),
                text(error),
            )
        return bool(found)
