"""What only a real server can show."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis

from models.errors import QueueUnavailableError, RetryableError, StaleClaimError
from models.jobs import Claim, DeadReason, JobState, NewJob
from serve_app.ports import Queue
from serve_app.queue.connection import ping
from serve_app.queue.keys import GROUP, ShardKeys
from serve_app.queue.scripts import ScriptRunner
from serve_app.queue.service import QueueService
from tests.fixtures.valkey import ValkeyServer
from tests.integration.queue.conftest import Opened

pytestmark = pytest.mark.integration
Open = Callable[..., Opened]


def job(job_id: str, conversation: str | None = None) -> NewJob:
    return NewJob(id=job_id, conversation=conversation or job_id, payload="{}")


async def queue_answers(queue: Queue) -> bool:
    try:
        await queue.backlog()
    except QueueUnavailableError:
        return False
    return True


async def test_work_goes_on_after_the_server_lost_everything(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, redis = open_queue(private_valkey.url)
    await queue.publish(job("m1"))
    (claim,) = await queue.take(consumer="one", count=1, block_s=0)
    await redis.flushall()
    await redis.script_flush()
    with pytest.raises(StaleClaimError):
        await queue.complete(claim)
    assert (await queue.backlog()).in_flight == 0
    assert await queue.publish(job("m1"))
    (claim,) = await queue.take(consumer="one", count=1, block_s=1.0)
    await queue.complete(claim)
    assert await queue.job_state("m1") == (JobState.DONE, None)


async def test_what_was_accepted_survives_a_killed_server(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, _ = open_queue(private_valkey.url)
    for number in range(50):
        assert await queue.publish(job(f"m{number}"))
    (claim,) = await queue.take(consumer="one", count=1, block_s=0)
    private_valkey.kill()
    with pytest.raises(QueueUnavailableError):
        await queue.complete(claim)
    private_valkey.start()
    await queue.complete(claim)
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_flight) == (49, 0)


async def test_a_server_that_hangs_is_a_timeout(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, redis = open_queue(
        private_valkey.url, command_timeout_s=0.3, connect_timeout_s=0.3, max_connections=2
    )
    await queue.publish(job("m1"))
    private_valkey.freeze()
    calls = [
        queue.publish(job("m2")),
        queue.take(consumer="one", count=1, block_s=0.5),
        queue.backlog(),
        queue.promote(),
        ping(redis, timeout=0.3),
    ]
    started = time.monotonic()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert time.monotonic() - started < 2.5
    assert [type(answer) for answer in answers] == [QueueUnavailableError] * 5
    private_valkey.thaw()
    (claim, *_) = await queue.take(consumer="two", count=5, block_s=1.0)
    await queue.complete(claim)


async def test_a_blocked_read_notices_that_the_server_hangs(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, _ = open_queue(private_valkey.url, command_timeout_s=0.4)
    reading = asyncio.create_task(queue.take(consumer="one", count=1, block_s=60))
    await asyncio.sleep(0.3)
    private_valkey.freeze()
    with pytest.raises(QueueUnavailableError):
        await asyncio.wait_for(reading, 3)


async def test_an_address_where_nobody_listens(open_queue: Open) -> None:
    queue, redis = open_queue("redis://127.0.0.1:1/0")
    with pytest.raises(QueueUnavailableError, match="can't be reached"):
        await queue.publish(job("m1"))
    with pytest.raises(QueueUnavailableError):
        await ping(redis)


async def test_a_full_server_accepts_nothing_and_lets_turns_end(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, redis = open_queue(private_valkey.url, max_attempts=1)
    for name in "abcdef":
        await queue.publish(job(f"{name}1", name))
    a, b, c, d, e = await queue.take(consumer="one", count=5, block_s=0)
    await queue.publish(job("a2", "a"))
    await redis.config_set("maxmemory", 1)
    with pytest.raises(QueueUnavailableError, match="OOM"):
        await queue.publish(job("m9"))
    await queue.complete(a)
    await queue.release(b)
    await queue.snooze(c, delay_s=60, reason="later")
    (letter,) = await queue.retry(d, RetryableError("no"))
    assert letter.reason is DeadReason.EXHAUSTED
    await queue.dead_letter(e, DeadReason.PERMANENT, RetryableError("no"))
    assert len(await queue.take(consumer="one", count=5, block_s=0)) == 3
    await redis.config_set("maxmemory", 0)
    assert await queue.publish(job("m9")), "the refusal left nothing behind"


async def test_a_read_only_server_is_unavailable(
    private_valkey: ValkeyServer, open_queue: Open
) -> None:
    queue, redis = open_queue(private_valkey.url)
    await redis.replicaof("127.0.0.1", 1)
    with pytest.raises(QueueUnavailableError, match="READONLY"):
        await queue.publish(job("m1"))


async def test_a_unix_socket(private_valkey: ValkeyServer, open_queue: Open) -> None:
    queue, redis = open_queue(private_valkey.unix_url)
    await ping(redis)
    assert await queue.publish(job("m1"))
    assert len(await queue.take(consumer="one", count=1, block_s=0.1)) == 1


async def test_scripts_stay_in_their_slot_on_a_cluster(tmp_path: Path, open_queue: Open) -> None:
    """One node that serves all slots still refuses a script that touches two of them."""
    server = ValkeyServer(tmp_path, "--cluster-enabled", "yes")
    server.start()
    try:
        queue, redis = open_queue(server.url, shards=5, max_attempts=1, lease_s=0.01)
        await redis.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        async with asyncio.timeout(5):
            while not await queue_answers(queue):  # noqa: ASYNC110 - the node takes a while
                await asyncio.sleep(0.01)
        await live_and_die(queue)
    finally:
        server.stop()


async def test_a_cluster_of_several_nodes(tmp_path: Path, open_queue: Open) -> None:
    """Each shard's commands go to the node that holds it, also after a shard has moved."""
    nodes: list[ValkeyServer] = []
    for number in range(2):
        folder = tmp_path / str(number)
        folder.mkdir()
        nodes.append(ValkeyServer(folder, "--cluster-enabled", "yes"))
    try:
        for node in nodes:
            node.start()
        direct = [open_queue(node.url)[1] for node in nodes]
        halves = (("0", "8191"), ("8192", "16383"))
        for redis, slots in zip(direct, halves, strict=True):
            await redis.execute_command("CLUSTER", "ADDSLOTSRANGE", *slots)
        await direct[0].execute_command("CLUSTER", "MEET", "127.0.0.1", nodes[1].port)
        async with asyncio.timeout(30):
            for redis in direct:
                while not await cluster_is_whole(redis):  # noqa: ASYNC110 - nodes tell nobody
                    await asyncio.sleep(0.05)
        queue, _ = open_queue(nodes[0].url, cluster=True, shards=5, lease_s=0.01)
        await live_and_die(queue)
        sizes = [await redis.dbsize() for redis in direct]
        assert min(sizes) > 0, "both nodes hold shards"
    finally:
        for node in nodes:
            node.stop()


async def test_a_cluster_that_is_away_is_unavailable(open_queue: Open) -> None:
    queue, redis = open_queue("redis://127.0.0.1:1/0", cluster=True)
    with pytest.raises(QueueUnavailableError, match="can't be reached"):
        await queue.publish(job("m1"))
    with pytest.raises(QueueUnavailableError):
        await ping(redis)


async def cluster_is_whole(redis: Redis) -> bool:
    told = await redis.execute_command("CLUSTER", "INFO")
    text = told if isinstance(told, str) else str(told)
    return "cluster_state:ok" in text.replace("': '", ":") and "16384" in text


async def live_and_die(queue: QueueService) -> None:
    """Every script, on every shard."""
    for number in range(20):
        assert await queue.publish(job(f"m{number}"), debounce_s=0.001 * (number % 2))
    await asyncio.sleep(0.005)
    assert await queue.promote() > 0
    claims: list[Claim] = []
    while len(claims) < 20:
        claims += await queue.take(consumer="one", count=20, block_s=0.1)
    assert {claim.shard for claim in claims} == set(range(5))
    await asyncio.sleep(0.02)
    claims = await queue.reclaim(consumer="two", count=20)
    assert len(claims) == 20
    for number, claim in enumerate(claims):
        await queue.heartbeat(claim)
        if number % 3 == 0:
            await queue.dead_letter(claim, DeadReason.EXHAUSTED, RetryableError("no"))
        elif number % 3 == 1:
            await queue.dead_letter(claim, DeadReason.PERMANENT, RetryableError("no"))
        else:
            await queue.complete(claim)
    letters = await queue.dead()
    assert len(letters) == 14
    assert {letter.shard for letter in letters} == set(range(5))
    assert [await queue.replay(letter.id) for letter in letters[:7]] == [True] * 7
    assert [await queue.purge(letter.id) for letter in letters[7:]] == [True] * 7
    backlog = await queue.backlog()
    assert (backlog.waiting, backlog.in_flight, backlog.dead) == (7, 0, 0)


async def test_live_turns_hide_no_dead_one(
    valkey_url: str, redis_prefix: str, open_queue: Open
) -> None:
    queue, redis = open_queue(valkey_url)
    count = 1_000
    await asyncio.gather(*(queue.publish(job(f"m{number}")) for number in range(count)))
    assert len(await queue.take(consumer="live", count=count - 1, block_s=0)) == count - 1
    (dead,) = await queue.take(consumer="dead", count=1, block_s=0)
    ready = ShardKeys.of(prefix=redis_prefix, name="inbound", shard=0).ready
    # As if it had been silent for a minute.
    await redis.execute_command(
        *("XCLAIM", ready, GROUP, "dead", 0, dead.entry_id, "IDLE", 60_000, "JUSTID")
    )
    (claim,) = await queue.reclaim(consumer="heir", count=1)
    assert claim.conversation == dead.conversation


async def test_an_entry_whose_data_is_gone_is_acknowledged(
    valkey_url: str, redis_prefix: str, open_queue: Open
) -> None:
    queue, redis = open_queue(valkey_url, lease_s=0.001)
    await queue.publish(job("m1"))
    (claim,) = await queue.take(consumer="one", count=1, block_s=0)
    ready = ShardKeys.of(prefix=redis_prefix, name="inbound", shard=0).ready
    await redis.xdel(ready, claim.entry_id)
    await asyncio.sleep(0.005)
    assert await queue.reclaim(consumer="two", count=10) == []
    assert (await queue.backlog()).in_flight == 0


async def test_what_was_taken_outlives_what_fails_after_it(
    valkey_url: str, open_queue: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue, _ = open_queue(valkey_url, shards=2, lease_s=0.01)
    for number in range(8):
        await queue.publish(job(f"m{number}"))
    run, failing = queue._scripts.run, ("take", 1)

    async def fail(name: str, keys: ShardKeys, *args: str | int) -> Any:
        if (name, queue._shards.index(keys)) == failing:
            raise QueueUnavailableError("gone")
        return await run(name, keys, *args)

    monkeypatch.setattr(queue._scripts, "run", fail)
    taken = await queue.take(consumer="one", count=8, block_s=0)
    assert taken
    assert {claim.shard for claim in taken} == {0}
    await asyncio.sleep(0.02)
    failing = ("tidy", 0)
    with pytest.raises(QueueUnavailableError):
        await queue.reclaim(consumer="two", count=8)
    for claim in taken:
        await queue.heartbeat(claim)
    await asyncio.sleep(0.02)
    failing = ("reclaim", 1)
    assert len(await queue.reclaim(consumer="two", count=8)) == len(taken)
    failing = ("reclaim", 0)
    with pytest.raises(QueueUnavailableError):
        await queue.reclaim(consumer="two", count=8)


async def test_a_turn_read_but_never_opened_is_no_crash(
    valkey_url: str, redis_prefix: str, open_queue: Open
) -> None:
    queue, redis = open_queue(valkey_url, lease_s=0.001)
    await queue.backlog()
    await queue.publish(job("m1"))
    ready = ShardKeys.of(prefix=redis_prefix, name="inbound", shard=0).ready
    await redis.xreadgroup(GROUP, "died early", {ready: ">"}, count=1)
    await asyncio.sleep(0.005)
    (claim,) = await queue.reclaim(consumer="two", count=10)
    assert claim.jobs[0].crashes == 0
    await queue.complete(claim)


async def test_a_take_whose_answer_was_lost_is_repeated_by_the_client(
    valkey_url: str, open_queue: Open
) -> None:
    queue, redis = open_queue(valkey_url)
    await queue.publish(NewJob(id="m1", conversation="c", payload="{}"))
    scripts = ScriptRunner(redis=redis, timeout_s=5.0)
    keys = queue._shards[0]
    entries = await scripts.read_new(keys, consumer="one", count=1, block_ms=1)
    (lost,) = await queue._open(0, "one", 1, entries)
    (again,) = await queue._open(0, "one", 1, entries)
    assert [job.id for job in again.jobs] == [job.id for job in lost.jobs] == ["m1"]
    await queue.publish(NewJob(id="m2", conversation="c", payload="{}"))
    await queue.complete(again)
    (rest,) = await queue.take(consumer="one", count=1, block_s=0)
    assert [job.id for job in rest.jobs] == ["m2"], "the conversation goes on"
    # Once it is settled, a late repetition finds nothing.
    assert await queue._open(0, "one", 1, entries) == []


async def test_waiting_readers_wake_one_another(valkey_url: str, open_queue: Open) -> None:
    """One script makes many turns ready; the stream shows readers one of them at a time."""
    queue, _ = open_queue(valkey_url)
    readers = [
        asyncio.create_task(queue.take(consumer=f"r{n}", count=4, block_s=60)) for n in range(4)
    ]
    for number in range(16):
        one = NewJob(
            id=f"m{number}", conversation=f"c{number}", payload="", fairness_key=str(number % 3)
        )
        await queue.publish(one, debounce_s=0.001)
    await asyncio.sleep(0.05)
    began = time.monotonic()
    assert await queue.promote() == 16
    async with asyncio.timeout(10):
        claims = [claim for taken in await asyncio.gather(*readers) for claim in taken]
    assert len(claims) == 16
    assert time.monotonic() - began < queue._settings.command_timeout_s / 2, "no read timed out"


async def test_what_an_older_version_left_behind_is_drained(
    valkey_url: str, redis_prefix: str, open_queue: Open
) -> None:
    """Before there were fairness keys every waiting token lay on the stream."""
    queue, redis = open_queue(valkey_url, lease_s=0.05)
    keys = ShardKeys.of(prefix=redis_prefix, name="inbound", shard=0)
    active, dead = f"{keys.prefix}active", f"{keys.prefix}dead"
    for number in range(5):
        name = f"old{number}"
        fields = {"c": name, "p": "{}", "t": "{}", "at": "1"}
        await redis.hset(f"{keys.prefix}job:{name}", mapping=fields)
        await redis.rpush(f"{keys.prefix}mailbox:{name}", name)
        await redis.hset(active, name, await redis.xadd(keys.ready, {"c": name}))
    # One is running on a consumer that the update ended, one is a dead letter.
    await redis.xgroup_create(keys.ready, GROUP, "0")
    ((_, ((entry, _),)),) = await redis.xreadgroup(GROUP, "older", {keys.ready: ">"}, count=1)
    await redis.hset(active, "old0", f"{entry} 1")
    letter = {"id": "older", "c": "older", "p": "{}", "t": "{}", "at": "1", "a": "6", "x": "0"}
    await redis.xadd(dead, {**letter, "h": "", "reason": "exhausted"})
    for number in range(3):
        await queue.publish(NewJob(id=f"new{number}", conversation=f"new{number}", payload="{}"))
    assert (await queue.backlog()).waiting == 7
    (found,) = await queue.dead()
    assert found.job.fairness_key == ""
    assert await queue.replay(found.id)
    await asyncio.sleep(0.1)
    done: list[str] = []
    claims = await queue.reclaim(consumer="new", count=10)
    while claims:
        for claim in claims:
            await queue.complete(claim)
            done += [each.id for each in claim.jobs]
        claims = await queue.take(consumer="new", count=3, block_s=0.01)
    assert done[:5] == [f"old{number}" for number in range(5)]
    assert sorted(done[5:]) == ["new0", "new1", "new2", "older"]


async def test_consumers_that_are_gone_are_forgotten(
    valkey_url: str, redis_prefix: str, open_queue: Open
) -> None:
    queue, redis = open_queue(valkey_url)
    keys = ShardKeys.of(prefix=redis_prefix, name="inbound", shard=0)
    await queue.publish(job("m1"))
    await queue.take(consumer="owner", count=1, block_s=0)
    for number in range(5):
        await queue.take(consumer=f"gone-{number}", count=1, block_s=0)
    await asyncio.sleep(0.02)
    assert await ScriptRunner(redis=redis, timeout_s=2).run("tidy", keys, 10_000) == 0
    await ScriptRunner(redis=redis, timeout_s=2).run("tidy", keys, 10)
    left = [consumer["name"] for consumer in await redis.xinfo_consumers(keys.ready, GROUP)]
    assert left == ["owner"], "it has a turn"


async def test_memory_follows_the_backlog(
    valkey_url: str, redis_prefix: str, open_queue: Open
) -> None:
    queue, redis = open_queue(valkey_url, dedupe_ttl_s=60, backoff_cap_s=0.01)
    count = 300
    for number in range(count):
        await queue.publish(job(f"m{number}", f"c{number % 40}"))
    failed = 0
    while (backlog := await queue.backlog()).waiting or backlog.delayed:
        for claim in await queue.take(consumer="one", count=16, block_s=0.005):
            if claim.jobs[0].attempts == 0 and failed < 10:
                failed += 1
                await queue.retry(claim, RetryableError("once"))
            else:
                await queue.complete(claim)
        await queue.promote()
    keys = [key async for key in redis.scan_iter(match=f"{redis_prefix}:*", count=1000)]
    memories = [key for key in keys if ":dedupe:" in key]
    assert len(memories) == count
    assert 0 < await redis.ttl(memories[0]) <= 60
    rest = [key for key in keys if ":dedupe:" not in key]
    keys = ShardKeys.of(prefix=redis_prefix, name="inbound", shard=0)
    assert set(rest) == {keys.ready, f"{keys.prefix}retried"}
    assert await redis.xlen(keys.ready) == 0
