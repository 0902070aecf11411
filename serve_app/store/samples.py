"""Samples of the queues and the cluster, kept for little more than a day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from models.console import DeploymentState
from models.inference import EngineStats
from models.jobs import Backlog
from models.samples import BacklogPoint, EngineWork, QueueCourse, ReplicaRange, SampledFigures
from serve_app.store.pool import StorePool

# Of several processes that look at the same things one writes down what it saw.
_ADD_BACKLOGS = """
    INSERT INTO backlog_samples (queue, waiting, oldest_s, in_flight, delayed, dead)
    SELECT * FROM unnest($1::text[], $2::int[], $3::float8[], $4::int[], $5::int[], $6::int[])
    WHERE NOT EXISTS (SELECT FROM backlog_samples WHERE at > now() - make_interval(secs => $7))
"""
_ADD_REPLICAS = """
    INSERT INTO replica_samples (deployment, running) SELECT * FROM unnest($1::text[], $2::int[])
    WHERE NOT EXISTS (SELECT FROM replica_samples WHERE at > now() - make_interval(secs => $3))
"""
_ADD_ENGINES = """
    INSERT INTO engine_samples
        (engine, model, replica, batch_limit, requests, batches, rows, busy_seconds, work_done)
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::int[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::float8[], $9::float8[])
    WHERE NOT EXISTS (SELECT FROM engine_samples WHERE at > now() - make_interval(secs => $10))
"""
_FORGET = "DELETE FROM {0} WHERE at < now() - interval '25 hours'"

_START = "SELECT now() AS now, now() - make_interval(secs => $1) AS start"
_QUEUES = """
    SELECT queue, max(waiting) AS waiting_most, avg(waiting)::float8 AS waiting_mean,
        max(oldest_s) AS oldest_most_s, avg(oldest_s) AS oldest_mean_s,
        max(in_flight) AS in_flight_most, max(delayed) AS delayed_most,
        coalesce(sum(greatest(dead - before, 0)), 0)::bigint AS dead_added
    FROM (
        SELECT *, lag(dead) OVER (PARTITION BY queue ORDER BY at) AS before
        FROM backlog_samples WHERE at > $1
    ) AS sample GROUP BY queue ORDER BY queue
"""
_POINTS = """
    SELECT date_bin(make_interval(secs => $2), at, $1) AS slice, max(waiting) AS waiting
    FROM (
        SELECT at, sum(waiting) AS waiting FROM backlog_samples WHERE at > $1 GROUP BY at
    ) AS sample GROUP BY 1
"""
_REPLICAS = """
    SELECT deployment, min(running) AS least, max(running) AS most
    FROM replica_samples WHERE at > $1 GROUP BY 1 ORDER BY 1
"""
# A replica that wasn't seen before the stretch started within it, at zero.
_ENGINES = """
    SELECT engine, model, count(*) AS replicas, sum(requests)::bigint AS requests,
        sum(rows)::bigint AS rows, sum(batches * batch_limit)::bigint AS room,
        sum(busy_seconds) AS busy_seconds, sum(work_done) AS work_done
    FROM (
        SELECT engine, model, replica, max(batch_limit) AS batch_limit,
            max(requests) - coalesce(max(requests) FILTER (WHERE at <= $1), 0) AS requests,
            max(batches) - coalesce(max(batches) FILTER (WHERE at <= $1), 0) AS batches,
            max(rows) - coalesce(max(rows) FILTER (WHERE at <= $1), 0) AS rows,
            max(busy_seconds) - coalesce(max(busy_seconds) FILTER (WHERE at <= $1), 0)
                AS busy_seconds,
            max(work_done) - coalesce(max(work_done) FILTER (WHERE at <= $1), 0) AS work_done
        FROM engine_samples GROUP BY 1, 2, 3 HAVING max(at) > $1
    ) AS replica GROUP BY 1, 2 ORDER BY 1, 2
"""


class PostgresFigureSamples:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def add_backlogs(self, backlogs: Sequence[Backlog], *, apart_s: float) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                _ADD_BACKLOGS,
                [each.queue for each in backlogs],
                [each.waiting for each in backlogs],
                [each.oldest_waiting_s for each in backlogs],
                [each.in_flight for each in backlogs],
                [each.delayed for each in backlogs],
                [each.dead for each in backlogs],
                apart_s,
            )
            await connection.execute(_FORGET.format("backlog_samples"))

    async def add_replicas(self, deployments: Sequence[DeploymentState], *, apart_s: float) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                _ADD_REPLICAS,
                [each.name for each in deployments],
                [each.running for each in deployments],
                apart_s,
            )
            await connection.execute(_FORGET.format("replica_samples"))

    async def add_engines(self, engines: Sequence[EngineStats], *, apart_s: float) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                _ADD_ENGINES,
                [each.engine for each in engines],
                [each.model for each in engines],
                [each.replica for each in engines],
                [each.batch_limit for each in engines],
                [each.requests for each in engines],
                [each.batches for each in engines],
                [each.rows for each in engines],
                [each.busy_seconds for each in engines],
                [each.work_done for each in engines],
                apart_s,
            )
            await connection.execute(_FORGET.format("engine_samples"))

    async def figures(self, *, seconds: float, points: int) -> SampledFigures:
        width = seconds / points
        async with (
            self._pool.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            clock = await connection.fetchrow(_START, seconds)
            assert clock is not None  # noqa: S101 -- one row
            start: datetime = clock["start"]
            queues = await connection.fetch(_QUEUES, start)
            slices = await connection.fetch(_POINTS, start, width)
            replicas = await connection.fetch(_REPLICAS, start)
            engines = await connection.fetch(_ENGINES, start)
        waiting = {
            round((row["slice"] - start).total_seconds() / width): int(row["waiting"])
            for row in slices
        }
        return SampledFigures(
            as_of=clock["now"],
            queues=tuple(QueueCourse(**dict(row)) for row in queues),
            replicas=tuple(ReplicaRange(**dict(row)) for row in replicas),
            engines=tuple(EngineWork(**dict(row)) for row in engines),
            points=tuple(
                BacklogPoint(at=start + timedelta(seconds=n * width), waiting=waiting.get(n))
                for n in range(points)
            ),
        )
