"""Webhooks accepted while Redis was away."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from models.jobs import NewJob
from serve_app.ports import SpooledJob
from serve_app.store.pool import StorePool
from serve_app.store.values import jsonable, text

_SWEEPER = 0x5350_4F4F_4C  # "SPOOL"


class PostgresSpoolRepository:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def add(self, queue: str, job: NewJob, *, debounce_s: float = 0.0) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                INSERT INTO inbox_spool
                    (queue, job_id, conversation, payload, trace, fairness_key, debounce_s)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                ON CONFLICT (queue, job_id) DO NOTHING
                """,
                queue,
                text(job.id),
                text(job.conversation),
                text(job.payload),
                jsonable(job.trace),
                text(job.fairness_key),
                debounce_s,
            )

    async def batches(self, *, limit: int) -> AsyncGenerator[list[SpooledJob]]:
        """One sweeper at a time, so that a conversation's jobs keep their order; others find nothing.

        A batch whose handling raises, or takes longer than the pool's limit for idle transactions,
        stays in the spool.
        """
        seen = 0
        while True:
            async with self._pool.transaction() as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _SWEEPER):
                    return
                rows = await connection.fetch(
                    """
                    SELECT seq, queue, job_id, conversation, payload, trace, fairness_key, debounce_s
                    FROM inbox_spool WHERE seq > $2 ORDER BY seq LIMIT $1 FOR UPDATE
                    """,
                    limit,
                    seen,
                )
                if not rows:
                    return
                seen = rows[-1]["seq"]
                batch = [
                    SpooledJob(
                        queue=row["queue"],
                        job=NewJob(
                            id=row["job_id"],
                            conversation=row["conversation"],
                            payload=row["payload"],
                            trace=row["trace"],
                            fairness_key=row["fairness_key"],
                        ),
                        debounce_s=row["debounce_s"],
                    )
                    for row in rows
                ]
                yield batch
                done = {(item.queue, item.job.id) for item in batch}
                await connection.execute(
                    "DELETE FROM inbox_spool WHERE seq = ANY($1)",
                    [row["seq"] for row in rows if (row["queue"], row["job_id"]) in done],
                )

    async def count(self, *, queue: str | None = None, at_most: int | None = None) -> int:
        async with self._pool.connection() as connection:
            return await connection.fetchval(
                """
                SELECT count(*) FROM
                    (SELECT FROM inbox_spool WHERE $1::text IS NULL OR queue = $1 LIMIT $2) AS found
                """,
                queue,
                at_most,
            )

    async def conversations(self, *, limit: int) -> set[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                "SELECT DISTINCT conversation FROM inbox_spool LIMIT $1", limit
            )
        return {row["conversation"] for row in rows}
