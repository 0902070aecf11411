"""Rows in which the stores die, stay away or are restarted."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.faults.campaign import Context, Outcome, Row
from tests.fixtures.valkey import ValkeyServer


def _start(valkey: ValkeyServer) -> None:
    """In this thread: a server dies with the thread that started it (PR_SET_PDEATHSIG)."""
    valkey.start()


async def redis_killed(context: Context) -> Outcome:
    kills = context.size(small=3, full=10)
    messages, conversations = context.size(small=(200, 20), full=(5_000, 250))
    over_s = context.size(small=6.0, full=200.0)
    valkey = context.servers.valkey
    async with context.stage(workers=2) as stage:
        talking = asyncio.create_task(
            stage.traffic.talk(messages=messages, conversations=conversations, over_s=over_s)
        )
        for _ in range(kills):
            await asyncio.sleep(stage.random.uniform(0.5, 1.2) * over_s / kills / 1.5)
            stage.note("fault", what="SIGKILL", server="valkey")
            await asyncio.to_thread(valkey.kill)
            await asyncio.sleep(stage.random.uniform(0.05, 0.4))
            _start(valkey)
        await talking
        settled = await stage.settle(seconds=120)
        outcome = Outcome(
            f"{messages} messages, {conversations} conversations, 2 workers, "
            f"{kills} x SIGKILL of Valkey",
            stage.score(),
            ordered=False,
        )
        outcome.must(settled, "work was left over")
        return outcome


async def redis_away(context: Context) -> Outcome:
    away_s = context.size(small=4.0, full=60.0)
    rate = context.size(small=20, full=20)
    valkey, postgres = context.servers.valkey, context.servers.postgres
    async with context.stage(workers=2) as stage:
        traffic = stage.traffic
        await traffic.talk(messages=20, conversations=20, over_s=1.0)
        await traffic.all_answered(seconds=20)
        stage.note("fault", what="down", server="valkey")
        await asyncio.to_thread(valkey.stop)
        # They end before the outage does: see docs/reliability.md on the order across two faults.
        count = int(rate * away_s)
        await traffic.talk(
            messages=count, conversations=count // 3, over_s=away_s, first=100, patience_s=0
        )
        down = [m for m in traffic.posted.values() if int(m.token[1:].partition("-")[0]) >= 100]
        statuses = {status for message in down for status in message.statuses}
        stage.note("fault", what="down too", server="postgres")
        await postgres.stop(signal.SIGINT)
        refusing = asyncio.create_task(
            traffic.talk(messages=10, conversations=10, over_s=1.0, first=90_000, patience_s=60)
        )
        await asyncio.sleep(2.5)
        refused = {
            status
            for message in traffic.posted.values()
            if int(message.token[1:].partition("-")[0]) >= 90_000
            for status in message.statuses
        }
        await postgres.start()
        _start(valkey)
        back = time.time()
        stage.note("fault", what="both are back")
        await refusing
        settled = await stage.settle(seconds=60)
        tokens = {message.token for message in down}
        drained = max(
            (a.at - back for a in traffic.answers if any(t in a.body for t in tokens)), default=0.0
        )
        took = sorted(seconds for message in down for seconds in message.seconds)
        p99 = took[int(0.99 * len(took))]
        outcome = Outcome(
            f"Valkey down {away_s:g} s under {rate} messages/s, Postgres too for the last 2.5 s",
            stage.score(),
            {
                "spooled": len(down),
                "drained after": f"{drained:.1f} s",
                "accepting p99": f"{1000 * p99:.0f} ms",
            },
        )
        # Of few webhooks the first ones weigh too much: they wait until the store is known to be away.
        limit = context.size(small=1.0, full=0.25)
        outcome.must(p99 <= limit, f"webhooks took {p99:.2f} s, a hundredth of them longer")
        outcome.must(statuses == {200}, f"while Valkey was down: {statuses}")
        outcome.must(refused == {503}, f"while both were down: {refused}")
        outcome.must(drained <= 30, f"drained after {drained:.1f} s")
        outcome.must(settled, "work was left over")
        return outcome


async def postgres_restarted(context: Context) -> Outcome:
    restarts = context.size(small=2, full=5)
    messages, conversations = context.size(small=(150, 15), full=(3_000, 150))
    over_s = context.size(small=5.0, full=120.0)
    postgres = context.servers.postgres
    async with context.stage(workers=2) as stage:
        talking = asyncio.create_task(
            stage.traffic.talk(messages=messages, conversations=conversations, over_s=over_s)
        )
        for number in range(restarts):
            await asyncio.sleep(stage.random.uniform(0.6, 1.2) * over_s / restarts / 1.5)
            how = signal.SIGQUIT if number % 2 == 0 else signal.SIGINT
            stage.note("fault", what=how.name, server="postgres")
            await postgres.stop(how)
            await asyncio.sleep(stage.random.uniform(0.1, 0.8))
            await postgres.start()
        await talking
        settled = await stage.settle(seconds=120)
        (row,) = await stage.query(
            "SELECT count(*) FILTER (WHERE turn_id IS NULL) AS open, count(*) AS stored FROM messages"
        )
        outcome = Outcome(
            f"{messages} messages, {conversations} conversations, 2 workers, {restarts} restarts of "
            "Postgres, every other one a crash",
            stage.score(),
            {"settled without their commit": row["open"]},
        )
        outcome.must(row["open"] == 0, f"{row['open']} messages were settled without a turn")
        outcome.must(row["stored"] == messages, f"{row['stored']} messages are stored")
        outcome.must(settled, "work was left over")
        return outcome


async def bad_wires(context: Context) -> Outcome:
    episodes = context.size(small=6, full=40)
    messages, conversations = context.size(small=(120, 40), full=(2_000, 400))
    over_s = context.size(small=9.0, full=80.0)
    async with context.stage(workers=2, wires=True) as stage:
        talking = asyncio.create_task(
            stage.traffic.talk(messages=messages, conversations=conversations, over_s=over_s)
        )
        kinds = ["cut", "blackhole", "drop_answers", "delay"]
        for number in range(episodes):
            await asyncio.sleep(stage.random.uniform(0.2, 0.6) * over_s / episodes)
            wire, kind = stage.wires[number % 2], kinds[number // 2 % 4]
            seconds = stage.random.uniform(0.3, 1.5)
            stage.note("fault", what=kind, wire=number % 2, seconds=round(seconds, 2))
            if kind == "cut":
                await wire.cut()
            elif kind == "delay":
                wire.delay(0.05)
            else:
                getattr(wire, kind)()
            await asyncio.sleep(seconds)
            await wire.heal()
        await talking
        settled = await stage.settle(seconds=120)
        outcome = Outcome(
            f"{messages} messages, {conversations} conversations, 2 workers, {episodes} times the "
            "connections to Valkey or Postgres cut, hung, without answers or slow for 0.3 to 1.5 s",
            stage.score(),
            ordered=False,
        )
        outcome.must(settled, "work was left over")
        return outcome


ROWS = (
    Row("redis-killed", "Valkey killed under load", "0 lost", redis_killed),
    Row(
        "redis-away",
        "Valkey down under load; then both stores",
        "200 through the spool, drained within 30 s of its return; both down: only 503",
        redis_away,
    ),
    Row(
        "postgres-restarted",
        "Postgres restarted under load",
        "0 lost, nothing settled without its commit",
        postgres_restarted,
    ),
    Row(
        "bad-wires",
        "connections to the stores cut, hung, answers dropped, slow",
        "0 lost, 0 duplicates",
        bad_wires,
    ),
)
