"""Rows about the queue itself, where sizes count: driven through its port on the real server."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from hypothesis.errors import Flaky
from redis.asyncio import Redis

from models.jobs import Claim, NewJob
from serve_app.queue.connection import connect
from serve_app.queue.service import QueueService
from serve_app.settings import QueueSettings
from tests.faults.campaign import Context, Outcome, Row
from tests.faults.scoring import percentile
from tests.faults.traffic import BUSINESS
from tests.integration.queue.test_model import TO_EXPLORE, explore, server_to_explore

AT_ONCE = 200
OTHER = "whatsapp:+14155550888"


@asynccontextmanager
async def queue_on(context: Context, **changes: Any) -> AsyncGenerator[tuple[QueueService, Redis]]:
    configured = QueueSettings(prefix=f"row-{uuid.uuid4().hex[:8]}", max_connections=64, **changes)
    redis = connect(context.servers.valkey.url, configured)
    try:
        yield QueueService(redis=redis, name="inbound", settings=configured), redis
    finally:
        await redis.aclose()


async def each(items: list[Any], call: Callable[[Any], Coroutine[Any, Any, Any]]) -> None:
    """For all of them, some at a time."""
    gate = asyncio.Semaphore(64)

    async def one(item: Any) -> None:
        async with gate:
            await call(item)

    for start in range(0, len(items), 5_000):
        await asyncio.gather(*(one(item) for item in items[start : start + 5_000]))


async def hidden_dead(context: Context) -> Outcome:
    live, scan_s = context.size(small=1_000, full=10_000), 0.2
    lease_s = context.size(small=3.0, full=15.0)
    async with queue_on(context, lease_s=lease_s, command_timeout_s=20.0) as (queue, _):
        jobs = [NewJob(id=f"m{n}", conversation=f"c{n}", payload="{}") for n in range(live + 1)]
        await each(jobs[:live], queue.publish)
        claims: list[Claim] = []
        while len(claims) < live:
            claims += await queue.take(consumer="live", count=AT_ONCE, block_s=1.0)
        await queue.publish(jobs[live])
        # Last in line: every live entry stands before it.
        await queue.take(consumer="dead", count=1, block_s=1.0)
        died = time.monotonic()

        async def beat() -> None:
            while True:
                await each(claims, queue.heartbeat)
                await asyncio.sleep(0.1)

        beating = asyncio.create_task(beat())
        scans: list[float] = []
        found: list[Claim] = []
        while not found and time.monotonic() - died < 3 * lease_s:
            await asyncio.sleep(scan_s)
            began = time.monotonic()
            found = await queue.reclaim(consumer="heir", count=16)
            scans.append(time.monotonic() - began)
        after = time.monotonic() - died
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        outcome = Outcome(
            f"1 dead entry behind {live} live ones, lease {lease_s:g} s, a scan every {scan_s:g} s",
            figures={
                "taken over after": f"{after:.2f} s",
                "a scan takes": f"{1000 * percentile(scans, 0.5):.1f} ms",
            },
        )
        outcome.must([c.jobs[0].id for c in found] == [f"m{live}"], f"{len(found)} were taken over")
        slack = scan_s + max(scans) + 0.2
        outcome.must(after <= lease_s + slack, f"taken over after {after:.2f} s")
        return outcome


async def memory(context: Context) -> Outcome:
    messages = context.size(small=3_000, full=1_000_000)
    kept_s = context.size(small=2.0, full=5.0)
    async with queue_on(context, dedupe_ttl_s=kept_s) as (queue, redis):
        payload = "x" * 500

        async def through(first: int, count: int) -> None:
            for start in range(first, first + count, 1_000):
                jobs = [
                    NewJob(id=f"m{n}", conversation=f"c{n % 200}", payload=payload)
                    for n in range(start, min(start + 1_000, first + count))
                ]
                await each(jobs, queue.publish)
                while claims := await queue.take(consumer="c", count=AT_ONCE, block_s=0.001):
                    await each(claims, queue.complete)

        async def at_rest() -> int:
            """Once everything that expires has expired."""
            await asyncio.sleep(kept_s + 0.5)
            size, before = await redis.dbsize(), -1
            while size != before:
                before = size
                await asyncio.sleep(0.5)
                size = await redis.dbsize()
            await redis.execute_command("MEMORY", "PURGE")
            return int((await redis.info("memory"))["used_memory"])

        await through(0, 1_000)
        start = await at_rest()
        began = time.monotonic()
        await through(10_000_000, messages)
        rate = messages / (time.monotonic() - began)
        end = await at_rest()
        outcome = Outcome(
            f"{messages:,} messages through one queue, ids remembered for {kept_s:g} s",
            figures={
                "memory": f"{start / 1e6:.2f} to {end / 1e6:.2f} MB, x {end / start:.3f}",
                "messages/s": round(rate),
            },
        )
        outcome.must(end <= 1.1 * start, f"memory grew to {end / start:.2f} times")
        backlog = await queue.backlog()
        outcome.must(backlog.waiting + backlog.in_flight == 0, "work was left over")
        return outcome


async def big_neighbour(context: Context) -> Outcome:
    backlog, asked = context.size(small=(400, 10), full=(10_000, 60))
    think_s, concurrency = context.size(small=(0.25, 4), full=(1.0, 8))
    # Few questions on a busy machine: one or two that it delays must not decide.
    share, slack_s = context.size(small=(0.5, 0.5), full=(0.95, 0.0))
    number = 500_000
    # The model sets the pace, as in production; turns of no length would only show who gets the processors.
    options = {
        "workers": 2,
        "senders": 1,
        "think_s": think_s,
        "worker": {"concurrency": concurrency},
        "owners": {"big": BUSINESS, "little": OTHER},
        "conversation": {"debounce_s": 0.0},
    }

    async def little(traffic: Any, first: int) -> list[float]:
        """One question after the other, each from somebody else; how long each took."""
        waits: list[float] = []
        for n in range(asked):
            message = await traffic.write(first + n, to=OTHER)
            deadline = time.monotonic() + 300
            while message.token not in traffic.answered and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert message.accepted_at is not None
            waits.append(time.time() - message.accepted_at)
        return waits

    async with context.stage(**options) as stage:
        traffic = stage.traffic
        await little(traffic, number - 2_000)
        alone = percentile(await little(traffic, number), share)
        for worker in stage.of("worker"):
            worker.stop()
        await traffic.talk(messages=backlog, conversations=backlog, over_s=0.0)
        for worker in stage.of("worker"):
            worker.start()
        beside = percentile(await little(traffic, number + 1_000), share)
        waiting = (await stage.stores.inbound.backlog()).waiting
        # The rest needs no thought.
        for worker in stage.of("worker"):
            worker.stop()
            worker.start(think_s=0.0)
        settled = await stage.settle(seconds=300)
        slower = f"x {beside / alone:.1f}"
        outcome = Outcome(
            f"one owner with a backlog of {backlog} conversations, another with one at a time, 2 workers "
            f"with {concurrency} turns each, {think_s:g} s of model time a turn",
            stage.score(),
            {
                f"the other's p{100 * share:.0f}": f"{alone:.2f} s alone, {beside:.2f} s beside it, {slower}",
                "backlog left then": waiting,
            },
        )
        outcome.must(
            beside <= 2 * alone + slack_s,
            f"the other owner waits {slower} as long",
        )
        outcome.must(waiting > 0, "the backlog was gone before the other owner had asked")
        outcome.must(settled, "work was left over")
        return outcome


async def state_machine(context: Context) -> Outcome:
    """On Valkey; in full also, with fewer examples, on every Redis there is and in cluster mode."""
    examples, steps = context.size(small=(10, 30), full=(2_000, 50))
    others = context.size(small=0, full=300)
    sizes = {name: examples if name == "valkey" else others for name in TO_EXPLORE}
    told = ", ".join(f"{size:,} on {name}" for name, size in sizes.items() if size)
    outcome = Outcome(f"{steps} steps of a hypothesis state machine: {told}")

    def run(name: str, size: int) -> None:
        folder = context.folder / name.replace(" ", "-")
        folder.mkdir()
        with server_to_explore(name, folder) as url:
            explore(url, examples=size, steps=steps, chance=context.seed)

    for name, size in sizes.items():
        if size:
            began = time.monotonic()
            try:
                await asyncio.to_thread(run, name, size)
            except (AssertionError, Flaky) as error:
                outcome.failures.append(f"{name}: an invariant broke: {error!r}")
            outcome.figures[f"seconds on {name}"] = round(time.monotonic() - began)
    return outcome


ROWS = (
    Row(
        "hidden-dead",
        "one dead consumer behind live pending entries",
        "taken over within the lease plus one scan",
        hidden_dead,
    ),
    Row("memory", "many messages through", "memory back to 1.1 x the start at most", memory),
    Row(
        "big-neighbour",
        "one owner with a large backlog",
        "another owner's p95 at most 2 x alone",
        big_neighbour,
    ),
    Row(
        "state-machine",
        "random operations against a plain model",
        "no invariant broken",
        state_machine,
    ),
)
