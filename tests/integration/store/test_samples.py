"""Samples over time: what lies within a stretch, what is forgotten, and a server that goes away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from models.inference import EngineStats
from models.jobs import Backlog
from serve_app.ops import instruments as i
from serve_app.ops import samplers
from serve_app.ops.samplers import NOTED_APART_S, StoreSampler
from serve_app.settings import StoreSettings
from serve_app.store.pool import StorePool, open_pool
from serve_app.store.samples import PostgresFigureSamples
from serve_app.testing.metrics import MemoryMetrics
from serve_app.testing.queue import MemoryQueue
from serve_app.testing.store import MemoryStore
from tests.fixtures.proxy import postgres_proxy
from tests.integration.outages.weather import away
from tests.unit.conversation.stage import ManualClock

pytestmark = pytest.mark.integration


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[StorePool]:
    async with open_pool(database_url, StoreSettings()) as opened:
        yield opened


async def grow_older(pool: StorePool, minutes: float) -> None:
    async with pool.connection() as connection:
        for table in ("backlog_samples", "replica_samples", "engine_samples"):
            await connection.execute(f"UPDATE {table} SET at = at - interval '{minutes} minutes'")


def inbound(waiting: int, dead: int = 0) -> Backlog:
    return Backlog(queue="inbound", waiting=waiting, in_flight=0, delayed=0, dead=dead)


def counted(replica: str, rows: int) -> EngineStats:
    return EngineStats(
        engine="e", model="m", device="cpu", rows=rows, batches=rows, batch_limit=4, replica=replica
    )


async def test_an_hour_is_told_of_its_own_samples(pool: StorePool) -> None:
    samples = PostgresFigureSamples(pool=pool)
    for waiting, dead, minutes in ((50, 1, 50), (9, 2, 30), (4, 5, 5)):
        await samples.add_backlogs([inbound(waiting, dead)], apart_s=0)
        await grow_older(pool, minutes)
    # They are 85, 35 and 5 minutes old.
    hour = await samples.figures(seconds=3_600, points=4)
    assert [(each.waiting_most, each.dead_added) for each in hour.queues] == [(9, 3)]
    assert [point.waiting for point in hour.points] == [None, 9, None, 4]
    day = await samples.figures(seconds=86_400, points=1)
    assert [(each.waiting_most, each.dead_added) for each in day.queues] == [(50, 4)]


async def test_a_model_is_told_by_what_it_did_since_the_stretch_began(pool: StorePool) -> None:
    samples = PostgresFigureSamples(pool=pool)
    await samples.add_engines([counted("old", 100), counted("gone", 7)], apart_s=0)
    await grow_older(pool, 90)
    await samples.add_engines([counted("old", 110), counted("new", 3)], apart_s=0)
    (hour,) = (await samples.figures(seconds=3_600, points=4)).engines
    assert (hour.replicas, hour.rows, hour.room) == (2, 13, 52)
    (day,) = (await samples.figures(seconds=86_400, points=4)).engines
    assert (day.replicas, day.rows, day.room) == (3, 120, 480)


async def test_what_is_older_than_a_day_is_forgotten(pool: StorePool) -> None:
    samples = PostgresFigureSamples(pool=pool)
    for hours in (2, 24):
        await samples.add_backlogs([inbound(1)], apart_s=0)
        await samples.add_engines([counted("one", 1)], apart_s=0)
        await grow_older(pool, hours * 60)
    await samples.add_backlogs([inbound(1)], apart_s=0)
    await samples.add_engines([counted("one", 1)], apart_s=0)
    async with pool.connection() as connection:
        for table in ("backlog_samples", "engine_samples"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 2


async def test_two_who_write_at_once_do_no_harm(pool: StorePool) -> None:
    samples = PostgresFigureSamples(pool=pool)
    await asyncio.gather(*(samples.add_backlogs([inbound(3)], apart_s=10) for _ in range(5)))
    (queue,) = (await samples.figures(seconds=60, points=1)).queues
    assert (queue.waiting_most, queue.waiting_mean) == (3, 3.0)


@pytest.mark.parametrize("how", ["cut", "hung"])
async def test_the_sampler_outlives_a_server_that_goes_away(
    database_url: str, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samplers, "_NOTE_LIMIT_S", 0.5)
    soon = StoreSettings(acquire_timeout_s=0.5, connect_timeout_s=0.5)
    clock, metrics, elsewhere = ManualClock(), MemoryMetrics(), MemoryStore()
    async with (
        postgres_proxy(database_url) as (proxy, address),
        open_pool(address, soon) as through,
        open_pool(database_url, StoreSettings()) as direct,
    ):
        sampler = StoreSampler(
            queues=(MemoryQueue(name="inbound"),),
            replies=elsewhere.replies,
            spool=elsewhere.spool,
            samples=PostgresFigureSamples(pool=through),
            metrics=metrics,
            clock=clock,
        )

        async def written() -> int:
            async with direct.connection() as connection:
                # The next sample isn't one of the same moment.
                await connection.execute("UPDATE backlog_samples SET at = at - interval '1 minute'")
                return await connection.fetchval("SELECT count(*) FROM backlog_samples")

        await sampler.look()
        assert await written() == 1
        await away(proxy, how)
        clock.advance(NOTED_APART_S)
        began = time.monotonic()
        await sampler.look()
        assert time.monotonic() - began < 3
        assert metrics.value(i.STORE_UP, store="redis") == 1
        await proxy.heal()
        clock.advance(NOTED_APART_S)
        await sampler.look()
        assert await written() == 2
