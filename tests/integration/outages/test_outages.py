"""Stores that go away, hang, lose answers, run full and restart under the running product."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from redis.asyncio import Redis

from serve_app.settings import StoreSettings
from serve_app.store.migrate import migrate
from tests.fixtures.postgres import Postgres
from tests.fixtures.proxy import postgres_proxy
from tests.fixtures.valkey import ValkeyServer
from tests.integration.outages.weather import (
    POSTGRES,
    PUBLISH_S,
    REDIS,
    SPOOL_S,
    Names,
    away,
    slowest,
    until,
)

pytestmark = [pytest.mark.integration, pytest.mark.faults]


@pytest.mark.parametrize("how", ["cut", "hung"])
async def test_redis_away(weather: Any, how: str) -> None:
    async with weather() as at:
        async with at.chatter():
            await asyncio.sleep(0.4)
            await away(at.redis, how)
            await asyncio.sleep(0.5)
            status, parts, seconds = await at.ready()
            assert status == 503
            assert parts["redis"] != "ok"
            assert parts["postgres"] == "ok"
            assert seconds < 3
            await asyncio.sleep(PUBLISH_S)
            before = len(at.answers)
            await asyncio.sleep(1.5)
            # By now everybody knows: nobody waits for Redis any more.
            assert slowest(at.answers[before:], share=0.8) < PUBLISH_S
            assert await at.house.stores.spool.count() > 0
            await at.redis.heal()
            await at.until_ready()
            await asyncio.sleep(0.4)
        assert {answer.status for answer in at.answers} == {200}
        assert max(answer.seconds for answer in at.answers) < PUBLISH_S + SPOOL_S + 1
        await at.check_answers()


@pytest.mark.parametrize("how", ["cut", "hung"])
async def test_postgres_away(weather: Any, how: str) -> None:
    async with weather() as at:
        async with at.chatter():
            # The account is known from then on.
            await until(lambda: bool(at.answers))
            await asyncio.sleep(0.4)
            await away(at.postgres, how)
            await asyncio.sleep(1.2)
            before = len(at.answers)
            status, parts, seconds = await at.ready()
            assert status == 503
            assert parts["postgres"] != "ok"
            assert parts["redis"] == "ok"
            assert seconds < 3
            await asyncio.sleep(1.5)
            assert slowest(at.answers[before:], share=0.8) < PUBLISH_S
            await at.postgres.heal()
            await at.until_ready()
            await asyncio.sleep(0.5)
        assert {answer.status for answer in at.answers} == {200}
        assert max(answer.seconds for answer in at.answers) < PUBLISH_S + SPOOL_S + 1
        await at.check_answers()


async def kept(at: Any, body: str) -> None:
    """Until the next look a healed store is known to be away."""
    async with asyncio.timeout(20):
        while (await at.write(body)).status == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["cut", "hung"])
async def test_both_away(weather: Any, how: str) -> None:
    async with weather() as at:
        assert (await at.write("before")).status == 200
        await away(at.redis, how)
        await away(at.postgres, how)
        for number in range(3):
            answer = await at.write(f"lost {number}")
            assert answer.status == 503
            assert answer.seconds < PUBLISH_S + SPOOL_S + 1
        # What is known to be away isn't waited for.
        assert answer.seconds < PUBLISH_S
        _, parts, seconds = await at.ready()
        assert parts["redis"] != "ok"
        assert parts["postgres"] != "ok"
        assert seconds < 3
        await at.redis.heal()
        await at.postgres.heal()
        await kept(at, "after")
        await at.check_answers()


async def test_lost_answers_of_redis(weather: Any) -> None:
    """The command was carried out and nobody was told: the message is on Redis and in the spool."""
    async with weather() as at:
        await at.write("one")
        await asyncio.sleep(0.3)
        at.redis.drop_answers()
        for body in ("two", "three"):
            assert (await at.write(body)).status == 200
        await at.redis.heal()
        assert (await at.write("four")).status == 200
        await at.check_answers()


async def test_a_slow_network(weather: Any) -> None:
    async with weather() as at:
        at.redis.delay(0.05)
        at.postgres.delay(0.01)
        async with at.chatter(contacts=2, every_s=0.3):
            await asyncio.sleep(1.5)
        assert {answer.status for answer in at.answers} == {200}
        at.redis.delay(0)
        at.postgres.delay(0)
        await at.check_answers()


async def test_redis_restarted(weather_of_its_own: Any, private_valkey: ValkeyServer) -> None:
    async with weather_of_its_own() as at:
        async with at.chatter():
            for _ in range(3):
                await asyncio.sleep(0.4)
                private_valkey.kill()
                await asyncio.sleep(0.2)
                await asyncio.to_thread(private_valkey.start)
            await asyncio.sleep(0.4)
        assert {answer.status for answer in at.answers} == {200}
        await at.check_answers()
        await at.until_ready()


async def test_redis_fails_over(
    weather_of_its_own: Any,
    private_valkey: ValkeyServer,
    replica: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A replica takes over, at another address behind the same name."""
    names = Names(monkeypatch)
    async with weather_of_its_own(names=names) as at:
        async with at.chatter():
            await asyncio.sleep(0.5)
        async with Redis.from_url(private_valkey.url) as primary:
            assert await primary.execute_command("WAIT", 1, 10_000) == 1
        async with at.chatter():
            # For good: the connections that it leaves behind hang rather than end.
            at.redis.blackhole()
            private_valkey.kill()
            names.point(REDIS, replica.port)
            await asyncio.sleep(0.5)
            async with Redis.from_url(replica.url) as promoted:
                await promoted.execute_command("REPLICAOF", "NO", "ONE")
            await at.until_ready()
            await asyncio.sleep(0.5)
        # What looks next is the test itself, which has no patience with connections that hang.
        await at.redis.cut()
        assert {answer.status for answer in at.answers} == {200}
        await at.check_answers()


async def test_redis_is_full(
    weather_of_its_own: Any, private_valkey: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with weather_of_its_own() as at, Redis.from_url(private_valkey.url) as operator:
        async with at.chatter():
            await asyncio.sleep(0.5)
            await operator.config_set("maxmemory", "1mb")
            await asyncio.sleep(1.5)
            assert await at.house.stores.spool.count() > 0
            await operator.config_set("maxmemory", "0")
            await asyncio.sleep(0.5)
        assert {answer.status for answer in at.answers} == {200}
        await at.check_answers()
    assert "redis_away" in capsys.readouterr().out


async def test_the_disk_of_redis_is_full(
    weather_of_its_own: Any, private_valkey: ValkeyServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `appendfsync always` the server doesn't refuse: it ends at the first write that the disk doesn't
    take. Whoever looks after it starts it again, in vain while the disk is full."""
    async with weather_of_its_own() as at:
        async with at.chatter():
            await asyncio.sleep(0.5)
            private_valkey.fill_disk()
            await until(private_valkey.has_ended)
            await asyncio.to_thread(private_valkey.start)
            await until(private_valkey.has_ended)
        assert await at.house.stores.spool.count() > 0
        assert {answer.status for answer in at.answers} == {200}
        await at.postgres.cut()
        assert (await at.write("refused")).status == 503
        await at.postgres.heal()
        await kept(at, "kept")
        private_valkey.free_disk()
        await asyncio.to_thread(private_valkey.start)
        await at.check_answers()
    assert "redis_away" in capsys.readouterr().out


async def test_postgres_restarted(weather: Any, private_postgres: Postgres) -> None:
    dsn = private_postgres.create_database()
    await migrate(dsn, StoreSettings())
    async with weather(database_url=dsn) as at:
        async with at.chatter():
            for _ in range(2):
                await asyncio.sleep(0.5)
                await asyncio.to_thread(private_postgres.stop)
                await asyncio.sleep(0.2)
                await asyncio.to_thread(private_postgres.start)
            await asyncio.sleep(0.5)
        assert {answer.status for answer in at.answers} == {200}
        await at.check_answers()
        await at.until_ready()


async def test_postgres_fails_over(
    weather: Any, private_postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data at another address behind the same name, read-only until it is promoted."""
    dsn = private_postgres.create_database()
    await migrate(dsn, StoreSettings())
    database = dsn.split("?", 1)[0].rsplit("/", 1)[1]
    names = Names(monkeypatch)
    async with weather(database_url=dsn, names=names) as at, postgres_proxy(dsn) as (standby, _):
        async with at.chatter():
            await asyncio.sleep(0.5)
            private_postgres.execute(
                f"ALTER DATABASE {database} SET default_transaction_read_only = on"
            )
            at.postgres.blackhole()
            names.point(POSTGRES, standby.port)
            await asyncio.sleep(2.0)
            private_postgres.execute(
                f"ALTER DATABASE {database} SET default_transaction_read_only = off"
            )
            await at.until_ready(seconds=20)
            await asyncio.sleep(0.5)
        await at.postgres.cut()
        # While there is no spool, a queue that doesn't answer in time has nobody to take its place: what is
        # refused is posted again, and only what was accepted is answered.
        statuses = [answer.status for answer in at.answers]
        assert 200 in statuses
        assert set(statuses) <= {200, 503}
        await at.check_answers()
