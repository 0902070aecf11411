"""Rows in which workers and senders die, freeze, hang or are wrong about the time."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter

from tests.faults.campaign import Context, Outcome, Row
from tests.faults.stage import Stage

POINTS = (
    "after-take",
    "after-transcript",
    "after-commit",
    "before-post",
    "after-post",
    "after-record",
    "after-outbound-take",
)
FREEZING_POINTS = ("after-commit", "before-post", "after-post")
"""Where a worker or a sender that others replace comes back and finds out."""


async def killed(context: Context) -> Outcome:
    messages, conversations = context.size(small=(240, 40), full=(10_000, 500))
    workers, senders = context.size(small=(3, 1), full=(8, 2))
    kills, over_s = context.size(small=9, full=20), context.size(small=8.0, full=400.0)
    async with context.stage(workers=workers, senders=senders, think_s=0.02) as stage:
        talking = asyncio.create_task(
            stage.traffic.talk(
                messages=messages, conversations=conversations, over_s=over_s, voice_share=0.15
            )
        )
        for number in range(kills):
            await asyncio.sleep(stage.random.uniform(0.3, 1.0) * over_s / kills)
            if number < len(POINTS):
                await stage.kill_at(POINTS[number], seconds=10)
            else:
                victims = [*stage.of("worker"), *stage.of("sender")]
                await stage.kill(stage.random.choice(victims))
            await stage.replace_dead()
        await talking
        settled = await stage.settle(seconds=120)
        outcome = Outcome(
            f"{messages} messages, {conversations} conversations, {workers} workers, "
            f"{senders} senders, {stage.kills} x SIGKILL",
            stage.score(),
            {"stale settlements refused": _stale(stage)},
        )
        outcome.must(stage.kills == kills, f"only {stage.kills} of {kills} kills struck")
        outcome.must(settled, "work was left over")
        return outcome


async def long_job(context: Context) -> Outcome:
    lease_s, leases = 0.6, 10
    async with context.stage(workers=2, queue={"lease_s": lease_s}) as stage:
        await stage.traffic.write(1, wish=f"slow={lease_s * leases}")
        await stage.traffic.talk(messages=20, conversations=5, over_s=4.0, first=10)
        settled = await stage.settle(seconds=60)
        asked = sum("c1-0000" in line.get("text", "") for line in stage.journal())
        outcome = Outcome(
            f"a turn of {leases} leases of {lease_s:g} s among 20 others, 2 workers",
            stage.score(),
            {"times the job ran": asked},
        )
        outcome.must(asked == 1, f"it ran {asked} times")
        outcome.must(settled, "work was left over")
        return outcome


async def frozen(context: Context) -> Outcome:
    lease_s = 1.0
    turns, rounds = context.size(small=(12, 1), full=(60, 5))
    async with context.stage(
        workers=2, senders=2, queue={"lease_s": lease_s}, twilio={"request_timeout_s": 1.5}
    ) as stage:
        for number in range(rounds):
            first, began = number * 1_000, time.time()
            await asyncio.gather(
                *(stage.traffic.write(first + n, wish="slow=1.5") for n in range(turns))
            )
            await asyncio.sleep(0.4)
            held = _held(stage, since=began)
            victim = max(stage.of("worker"), key=lambda worker: held[worker.pid])
            victim.send(signal.SIGSTOP)
            stage.note("fault", what="SIGSTOP", actor=victim.name)
            await asyncio.sleep(3 * lease_s)
            victim.send(signal.SIGCONT)
            stage.note("fault", what="SIGCONT", actor=victim.name)
            await stage.traffic.all_answered(seconds=30)
        froze = 0
        for number, point in enumerate(FREEZING_POINTS * rounds):
            freezing = asyncio.create_task(stage.freeze_at(point, leases=3))
            await stage.traffic.write(90_000 + number)
            froze += await freezing
            await stage.traffic.all_answered(seconds=30)
        settled = await stage.settle(seconds=60)
        journal = stage.journal()
        struck = _stale(stage)
        completed = Counter(job for line in journal if _is_done(line) for job in line["jobs"])
        outcome = Outcome(
            f"{rounds} x SIGSTOP for 3 leases of {lease_s:g} s, {turns} turns in flight on 2 workers; "
            f"then workers and senders at {froze} named points",
            stage.score(),
            {"stale settlements refused": struck},
        )
        outcome.must(froze == len(FREEZING_POINTS) * rounds, f"only {froze} came to their points")
        outcome.must(struck > 0, "nothing stale was tried: the freeze came to nothing")
        twice = [job for job, times in completed.items() if times > 1]
        outcome.must(not twice, f"{len(twice)} jobs were settled twice")
        outcome.must(settled, "work was left over")
        return outcome


async def poison(context: Context) -> Outcome:
    async with context.stage(
        workers=2, queue={"max_crashes": 3, "lease_s": 0.8}, conversation={"debounce_s": 0.0}
    ) as stage:
        # One turn: a neighbour before it, the bad one, a neighbour behind it.
        for wish in ("slow=0.5", "", "boom", ""):
            await stage.traffic.write(1, wish=wish)
        bad = "c1-0002"
        others = asyncio.create_task(
            stage.traffic.talk(messages=40, conversations=10, over_s=6.0, first=100)
        )
        deadline = time.monotonic() + 40
        while not (letters := await stage.stores.inbound.dead()) and time.monotonic() < deadline:
            await stage.replace_dead()
            await asyncio.sleep(0.05)
        await stage.replace_dead()
        await others
        settled = await stage.settle(seconds=40, but=1)
        deaths = sum(" boom" in line.get("text", "") for line in stage.journal())
        score = stage.score(parked={bad})
        outcome = Outcome(
            "a message that kills its worker among 3 neighbours and 40 others, 2 workers",
            score,
            {"deliveries of it": deaths, "apologies": score.extra},
        )
        reasons = [f"{letter.job.crashes} x {letter.reason}" for letter in letters]
        outcome.must(reasons == ["3 x crash"], f"dead letters: {reasons}")
        outcome.must(deaths == 3, f"it was delivered {deaths} times")
        outcome.must(score.extra == 1, f"{score.extra} apologies")
        outcome.must(settled, "work was left over")
        return outcome


async def scaled_down(context: Context) -> Outcome:
    workers, turns = context.size(small=(4, 16), full=(8, 40))
    drain_s = 3.0
    async with context.stage(
        workers=workers,
        senders=2,
        worker={"concurrency": turns, "drain_s": drain_s},
        queue={"lease_s": 10.0},
    ) as stage:
        for number in range(turns):
            wish = f"slow={1.5 if number % 2 else drain_s + 2}"
            await stage.traffic.write(number, wish=wish)
        await asyncio.sleep(0.8)
        taken = [line for line in stage.journal() if line["event"] == "take"]
        held = _held(stage)
        staying, *leaving = sorted(stage.of("worker"), key=lambda worker: held[worker.pid])
        gone = {actor.pid for actor in leaving}
        for actor in leaving:
            actor.send(signal.SIGTERM)
        stage.note("fault", what="SIGTERM", actors=[actor.name for actor in leaving])
        # One of the senders too, when the first replies leave.
        await stage.traffic.all_answered(seconds=20, but=turns - 1)
        sender = stage.random.choice(stage.of("sender"))
        sender.send(signal.SIGTERM)
        stage.note("fault", what="SIGTERM", actors=[sender.name])
        settled = await stage.settle(seconds=60)
        journal = stage.journal()
        released = {line["jobs"][0]: line["at"] for line in journal if line["event"] == "release"}
        again = [
            line["at"] - released[line["jobs"][0]]
            for line in journal
            if line["event"] == "take"
            and line["pid"] == staying.pid
            and line["jobs"][0] in released
        ]
        asked = Counter(line["text"].split()[0] for line in journal if line["event"] == "chat")
        interrupted = [
            token
            for token, times in asked.items()
            if times > 1 and int(token.rpartition("-")[0][1:]) % 2
        ]
        moved = sum(line["pid"] in gone for line in taken)
        outcome = Outcome(
            f"{workers} workers and 2 senders to 1 with {turns} turns in flight ({moved} of them on those "
            "that go), "
            f"half of them longer than the grace period of {drain_s:g} s",
            stage.score(),
            {
                "handed back": len(released),
                "resumed after at most": f"{max(again, default=0.0):.2f} s",
            },
        )
        outcome.must(len(taken) == turns, f"only {len(taken)} turns were in flight")
        outcome.must(moved > 0, "none was on the workers that go")
        outcome.must(not interrupted, f"{len(interrupted)} turns were cut off within the grace")
        outcome.must(bool(released) and len(again) == len(released), "not all were resumed")
        outcome.must(max(again, default=0.0) <= 2.0, "a turn waited more than 2 s")
        outcome.must(settled, "work was left over")
        return outcome


async def wrong_clocks(context: Context) -> Outcome:
    turns = context.size(small=12, full=60)
    async with context.stage(
        workers=2,
        clocks_s=(300.0, -300.0),
        queue={"backoff_base_s": 0.001, "backoff_cap_s": 0.001, "lease_s": 4.0},
        worker={"concurrency": turns},
        conversation={"debounce_s": 0.0},
    ) as stage:
        gap_s = 0.3
        order = list(range(turns))
        stage.random.shuffle(order)
        await asyncio.gather(
            *(stage.traffic.write(n, wish=f"later={2.0 + gap_s * n:.1f}") for n in order)
        )
        settled = await stage.settle(seconds=60)
        due: dict[str, float] = {}
        late: list[float] = []
        chats = [line for line in stage.journal() if line["event"] == "chat"]
        for line in chats:
            token, _, seconds = line["text"].partition(" later=")
            if token in due:
                late.append(line["at"] - due[token])
            else:
                due[token] = line["at"] + float(seconds)
        outcome = Outcome(
            f"{turns} retries due {gap_s:g} s apart, 2 workers 5 minutes fast and slow",
            stage.score(),
            {
                "processes with wrong clocks": len({line["pid"] for line in chats}),
                "after they were due": f"{min(late):.2f} to {max(late):.2f} s",
            },
        )
        # By the true clock, in order up to the time between two looks for what is due.
        outcome.must(len(late) == turns, f"{len(late)} of {turns} were repeated once")
        outcome.must(min(late) > -0.1 and max(late) < 1.0, "some were early, or late")
        outcome.must(settled, "work was left over")
        return outcome


async def repeated_posts(context: Context) -> Outcome:
    messages, conversations = context.size(small=(100, 20), full=(10_000, 500))
    async with context.stage(workers=2) as stage:
        await stage.traffic.talk(
            messages=messages,
            conversations=conversations,
            over_s=context.size(small=2.0, full=240.0),
            copies=5,
        )
        settled = await stage.settle(seconds=120)
        (row,) = await stage.query("SELECT count(*) AS n FROM messages")
        score = stage.score()
        outcome = Outcome(
            f"{messages} messages, each posted 5 times at once", score, {"stored": row["n"]}
        )
        outcome.must(row["n"] == messages, f"{row['n']} messages are stored")
        outcome.must(score.answered == messages, f"{score.answered} were answered")
        outcome.must(settled, "work was left over")
        return outcome


def _held(stage: Stage, *, since: float = 0.0) -> Counter[int]:
    """How many turns each process took: one that is quick may have them all."""
    return Counter(
        line["pid"] for line in stage.journal() if line["event"] == "take" and line["at"] >= since
    )


def _stale(stage: Stage) -> int:
    return sum(line.get("outcome") == "stale" for line in stage.journal())


def _is_done(line: dict[str, object]) -> bool:
    return line["event"] == "complete" and line["outcome"] == "ok"


ROWS = (
    Row(
        "workers-killed",
        "workers and senders killed at named and at random points",
        "0 lost, 0 unexpected, 0 out of order, 0 duplicates",
        killed,
    ),
    Row("long-job", "a job that takes 10 leases", "runs once", long_job),
    Row("frozen", "SIGSTOP for 3 leases, then SIGCONT", "every stale settlement refused", frozen),
    Row(
        "poison",
        "a message that kills its process",
        "dead letter after exactly 3 deliveries, neighbours finish",
        poison,
    ),
    Row(
        "scaled-down",
        "workers scaled to 1 with turns in flight",
        "none interrupted within the grace, the rest resumed within 2 s",
        scaled_down,
    ),
    Row("wrong-clocks", "workers' clocks ± 5 minutes", "due order unchanged", wrong_clocks),
    Row(
        "repeated-posts",
        "each message posted 5 times at once",
        "as many messages and replies as messages",
        repeated_posts,
    ),
)
