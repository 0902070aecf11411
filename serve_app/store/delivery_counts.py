"""Delivery figures: what became of an owner's replies."""

from __future__ import annotations

from datetime import datetime

from models.conversations import DeliveryCount
from serve_app.store.pool import StorePool
from serve_app.store.values import text


async def delivery_counts(
    pool: StorePool, *, since: datetime, owner_id: str | None
) -> list[DeliveryCount]:
    async with pool.connection() as connection:
        rows = await connection.fetch(
            """
            SELECT v.owner_id, r.status, r.delivery, r.error_code, count(*) AS replies,
                coalesce(sum(r.segments), 0)::bigint AS segments
            FROM replies r JOIN conversations v ON v.id = r.conversation_id
            WHERE r.created_at >= $1 AND ($2::text IS NULL OR v.owner_id = $2)
            GROUP BY 1, 2, 3, 4
            ORDER BY v.owner_id COLLATE "C", r.status, r.delivery NULLS FIRST, r.error_code NULLS FIRST
            """,
            since,
            text(owner_id),
        )
    return [DeliveryCount(**dict(row)) for row in rows]
