"""The console of a busy service: what a page costs in time on a processor, which load doesn't change."""

from __future__ import annotations

import asyncio
import statistics
from contextlib import aclosing
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from models.jobs import DeadReason, NewJob
from serve_app.console import dead_letters
from serve_app.queue.connection import connect
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings
from serve_app.store.cipher import TokenCipher
from serve_app.store.console import PostgresConsoleViews
from serve_app.store.pool import StorePool
from serve_app.store.samples import PostgresFigureSamples
from tests.integration.console.benchmark import PAGES, spent_s
from tests.integration.console.filling import fill
from tests.integration.console.rig import KEY, open_rig

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

MESSAGES, OF_LAST_DAY = 120_000, 100_000
LETTERS = 6_000
PAGE_S = 0.1
"""A page may take 300 ms on the clock."""
READING_S = 0.35
"""The figures of the last day, which are read once a minute while somebody looks."""
SAMPLES_S = 0.1
"""What was sampled of that day, which is read with them."""


async def busy(pool: StorePool) -> None:
    token = TokenCipher(KEY).encrypt(SecretStr("token"))
    share = OF_LAST_DAY / MESSAGES
    await fill(pool, messages=MESSAGES, owners=200, token=token, last_day=share)
    async with pool.connection() as connection:
        await connection.execute(
            "UPDATE replies SET status = CASE WHEN seq % 5 = 0 THEN 'parked' ELSE 'failed' END"
            " WHERE seq % 240 = 0"
        )
        # What four replicas write down in a day.
        await connection.execute(
            "INSERT INTO webhook_samples (at, replica, refused, counts)"
            " SELECT now() - n * interval '10 seconds', 'replica-' || r, 0,"
            " ARRAY[1,2,3,4,5,0,0,0,0,0,0,0,0,0]"
            " FROM generate_series(1, 8640) n, generate_series(1, 4) r"
        )
        # A day's samples of the queues, and those of six deployments and two models.
        await connection.execute(
            "INSERT INTO backlog_samples (at, queue, waiting, oldest_s, in_flight, delayed, dead)"
            " SELECT now() - n * interval '15 seconds', queue, n % 40, n % 9, n % 5, 0, 5760 - n"
            " FROM generate_series(1, 5760) n, unnest('{inbound,outbound,status}'::text[]) queue"
        )
        await connection.execute(
            "INSERT INTO replica_samples (at, deployment, running)"
            " SELECT now() - n * interval '30 seconds', 'Deployment ' || d, 1 + n % 3"
            " FROM generate_series(1, 2880) n, generate_series(1, 6) d"
        )
        await connection.execute(
            "INSERT INTO engine_samples (at, engine, model, replica, batch_limit, requests, batches,"
            " rows, busy_seconds, work_done)"
            " SELECT now() - n * interval '30 seconds', 'engine ' || e, 'm', 'r' || n % 4, 8,"
            " 9000 - n, 4000 - n, 9000 - n, 4000 - n, 9000 - n"
            " FROM generate_series(1, 2880) n, generate_series(1, 2) e"
        )
        await connection.execute(
            "ANALYZE replies, webhook_samples, backlog_samples, replica_samples, engine_samples"
        )


async def bury(queue: QueueService) -> str:
    """Letters with a history, as those have that were tried."""
    error = ValueError("the model didn't answer: " + "where it failed, " * 100)
    jobs = [NewJob(id=f"j{n}", conversation=f"c{n}", payload="x" * 500) for n in range(LETTERS)]
    for start in range(0, LETTERS, 500):
        batch = jobs[start : start + 500]
        await asyncio.gather(*(queue.bury(job, DeadReason.EXHAUSTED, error) for job in batch))
    (latest,) = await queue.dead_latest(count=1)
    return latest.id


async def test_every_page_is_cheap_with_a_hundred_thousand_messages_of_the_last_day(
    database_url: str, valkey_url: str, redis_prefix: str
) -> None:
    settings = QueueSettings(prefix=redis_prefix)
    async with aclosing(connect(valkey_url, settings)) as redis:
        letters = QueueService(redis=redis, name="letters", settings=settings)
        async with open_rig(database_url, letters=letters) as rig:
            await busy(rig.pool)
            latest = await bury(letters)
            async with rig.pool.connection() as connection:
                folder = await connection.fetchval("SHOW data_directory")
            server = psutil.Process(int((Path(folder) / "postmaster.pid").read_text().split()[0]))
            await rig.sign_in()

            views = PostgresConsoleViews(pool=rig.pool)
            samples = PostgresFigureSamples(pool=rig.pool)
            turns, costs, of_samples = list[int](), list[float](), list[float]()
            for _ in range(3):
                before = spent_s(server)
                turns.append((await views.traffic(seconds=86_400, points=96)).turns)
                costs.append(spent_s(server) - before)
                before = spent_s(server)
                assert len((await samples.figures(seconds=86_400, points=96)).queues) == 3
                of_samples.append(spent_s(server) - before)
            assert turns == pytest.approx([OF_LAST_DAY] * 3, rel=0.02)
            assert statistics.median(costs) < READING_S, costs
            assert statistics.median(of_samples) < SAMPLES_S, of_samples

            dear: dict[str, float] = {}
            for page in (*PAGES, f"dead/letters/{latest}"):
                costs.clear()
                # The first finds nothing ready, nor in any cache.
                for _ in range(4):
                    before = spent_s(server)
                    answer = await rig.http.get(f"/console/{page}")
                    costs.append(spent_s(server) - before)
                    assert answer.status_code == 200, page
                cost = statistics.median(costs)
                print(f"{page:40} {cost * 1000:6.1f} ms")
                if cost > PAGE_S + (dead_letters.LOOK_S if page.startswith("dead?q") else 0):
                    dear[page] = cost
            assert dear == {}
