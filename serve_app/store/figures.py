"""How long the stages of stored turns took, over a stretch of time, in all or of some owners."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.figures import StageFigures
from serve_app.store.pool import StorePool

MOST_TURNS = 20_000
"""The latest turns that are looked at, so that a busy day can be asked about too."""

_STAGES = """
WITH looked_at AS (
    SELECT timings FROM turns
    WHERE created_at >= $1 AND created_at < $2 AND ($3::text[] IS NULL OR owner_id = ANY($3))
    ORDER BY created_at DESC LIMIT $4
)
SELECT step AS stage, count(*) AS count,
    percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY seconds) AS quantiles
FROM looked_at, jsonb_to_recordset(timings) AS timing (step text, seconds double precision)
GROUP BY step
"""


class StoredFigures:
    """Over Postgres, so exact and per owner, which metrics with bounded labels can't be."""

    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def stages(
        self, *, since: datetime, until: datetime, owners: Sequence[str] | None = None
    ) -> list[StageFigures]:
        """Of turns that were committed in [since, until), in no order. The commit itself isn't among
        the stages: it is what stores them. Raises `StoreUnavailableError`."""
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                _STAGES, since, until, list(owners) if owners is not None else None, MOST_TURNS
            )
        return [
            StageFigures(
                stage=row["stage"],
                count=row["count"],
                p50_s=row["quantiles"][0],
                p95_s=row["quantiles"][1],
                p99_s=row["quantiles"][2],
            )
            for row in rows
        ]
