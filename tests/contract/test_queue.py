"""What every queue must do, in memory and on a real server, with one shard and with several."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from models.errors import PermanentError, RetryableError, StaleClaimError
from models.jobs import Claim, DeadReason, JobState
from tests.contract.queue_rigs import FAST, Rig, ids, memory_rig, new_job, valkey_rig


@pytest.fixture(params=["memory", "valkey", "valkey-3-shards", "redis"])
async def rig(request: pytest.FixtureRequest, redis_prefix: str) -> AsyncIterator[Rig]:
    if request.param == "memory":
        async with memory_rig(FAST) as rig:
            yield rig
    else:
        shards = 3 if request.param == "valkey-3-shards" else 1
        settings = FAST.model_copy(update={"prefix": redis_prefix, "shards": shards})
        server = "redis_url" if request.param == "redis" else "valkey_url"
        async with valkey_rig(request.getfixturevalue(server), settings) as rig:
            yield rig


def failure(text: str = "no luck") -> Exception:
    try:
        raise RetryableError(text)
    except RetryableError as error:
        return error


# --- publishing and taking -------------------------------------------------------------------------


async def test_a_job_arrives_as_it_was_published(rig: Rig) -> None:
    await rig.publish("m1", conversation="whatsapp:+5511:ação")
    claim = await rig.take_one(consumer="w1")
    (job,) = claim.jobs
    expected = new_job("m1", "whatsapp:+5511:ação")
    assert (job.id, job.payload, job.trace) == (expected.id, expected.payload, expected.trace)
    assert (job.attempts, job.crashes, job.history) == (0, 0, ())
    assert claim.conversation == job.conversation == expected.conversation
    assert (claim.consumer, claim.deliveries) == ("w1", 1)
    assert job.published_at <= claim.waiting_since <= claim.taken_at


async def test_publishing_again_does_nothing(rig: Rig) -> None:
    assert await rig.queue.publish(new_job("m1"))
    assert not await rig.queue.publish(new_job("m1"))
    claim = await rig.take_one()
    assert ids(claim) == ["m1"]
    assert not await rig.queue.publish(new_job("m1"))
    await rig.queue.complete(claim)
    assert not await rig.queue.publish(new_job("m1")), "a done job is remembered"
    assert await rig.take() == []


async def test_a_burst_is_one_turn_in_order(rig: Rig) -> None:
    await rig.publish("m1", "m2", "m3")
    assert ids(await rig.take_one()) == ["m1", "m2", "m3"]


async def test_a_turn_takes_no_more_than_its_limit(rig: Rig) -> None:
    await rig.publish(*(f"m{i}" for i in range(6)))
    claim = await rig.take_one()
    assert ids(claim) == ["m0", "m1", "m2", "m3"]
    await rig.queue.complete(claim)
    assert ids(await rig.take_one()) == ["m4", "m5"]


async def test_a_conversation_has_one_turn_at_a_time(rig: Rig) -> None:
    await rig.publish("m1")
    first = await rig.take_one()
    await rig.publish("m2", "m3")
    assert await rig.take(consumer="two") == []
    await rig.queue.complete(first)
    assert ids(await rig.take_one(consumer="two")) == ["m2", "m3"]


async def test_conversations_run_side_by_side(rig: Rig) -> None:
    for name in "abcde":
        await rig.publish(f"{name}1", conversation=name)
    claims = await rig.take(count=3)
    assert len(claims) == 3
    claims += await rig.take(count=3, consumer="two")
    assert sorted(claim.conversation for claim in claims) == list("abcde")


async def test_ready_conversations_are_served_in_turn(rig: Rig) -> None:
    """A busy conversation goes to the tail after each turn."""
    names = ["a", "b"] if rig.settings.shards == 1 else ["a"]  # in turn inside a shard
    for name in names:
        await rig.publish(*(f"{name}{i}" for i in range(6)), conversation=name)
    first = (await rig.take(count=1))[0]
    await rig.queue.complete(first)
    order = [claim.conversation for claim in await rig.take()]
    assert order == list(reversed(names))


async def test_take_waits_for_the_first_turn(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(consumer="one", count=5, block_s=2.0))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await rig.publish("m1")
    (claim,) = await asyncio.wait_for(waiting, 1.5)
    assert ids(claim) == ["m1"]


async def test_take_gives_up_waiting(rig: Rig) -> None:
    waiting = asyncio.create_task(rig.queue.take(consumer="one", count=5, block_s=0.05))
    await asyncio.sleep(0.02)
    await rig.pass_time(0.06)
    assert await asyncio.wait_for(waiting, 1.5) == []


# --- fairness ---------------------------------------------------------------------------------------


async def one_by_one(rig: Rig) -> list[Claim]:
    """Turns in the order in which a consumer with a single slot gets them, each completed."""
    claims: list[Claim] = []
    while taken := await rig.take(count=1):
        await rig.queue.complete(taken[0])
        claims += taken
    return claims


async def test_a_long_line_holds_nobody_else_up(rig: Rig) -> None:
    for number in range(30):
        await rig.publish(f"m{number}", conversation=f"big-{number}", key="big")
    await rig.publish("late", conversation="little", key="little")
    order = [claim.conversation for claim in await one_by_one(rig)]
    assert order.index("little") <= 3 * rig.settings.shards
    if rig.settings.shards == 1:
        assert [name for name in order if name != "little"] == [f"big-{n}" for n in range(30)]
    assert len(set(order)) == 31


async def test_lines_take_turns(rig: Rig) -> None:
    for key in ("a", "b", "c"):
        for number in range(8):
            await rig.publish(f"{key}{number}", conversation=f"{key}{number}", key=key)
    claims: list[Claim] = []
    while taken := await rig.take(count=4):
        claims += taken
    first = [claim.jobs[0].fairness_key for claim in claims[:12]]
    if rig.settings.shards == 1:
        assert {key: first.count(key) for key in "abc"} == {"a": 5, "b": 4, "c": 3}
    assert len(claims) == 24


async def test_a_busy_conversation_goes_behind_its_own_line(rig: Rig) -> None:
    await rig.publish(*(f"a{n}" for n in range(5)), conversation="a", key="one")
    await rig.publish("b0", conversation="b", key="one")
    claims = await one_by_one(rig)
    assert sorted(ids(claim)[0] for claim in claims) == ["a0", "a4", "b0"]
    if rig.settings.shards == 1:
        assert [claim.conversation for claim in claims] == ["a", "b", "a"]


async def test_the_wait_in_a_line_counts(rig: Rig) -> None:
    for name in "abc":
        await rig.publish(f"{name}1", conversation=name, key="one")
    await rig.pass_time(0.1)
    backlog = await rig.queue.backlog()
    assert (backlog.waiting, backlog.in_flight) == (3, 0)
    assert backlog.oldest_waiting_s >= 0.099
    for claim in await one_by_one(rig):
        assert claim.taken_at - claim.waiting_since >= 0.099
        assert claim.waiting_since >= claim.jobs[0].published_at
    backlog = await rig.queue.backlog()
    assert (backlog.waiting, backlog.oldest_waiting_s) == (0, 0.0)


async def test_a_turn_taken_over_keeps_when_its_wait_began(rig: Rig) -> None:
    for name in "ab":
        await rig.publish(f"{name}1", conversation=name, key="one")
    await rig.pass_time(0.05)
    since = {claim.conversation: claim.waiting_since for claim in await rig.take()}
    claims = await rig.lose()
    assert {claim.conversation: claim.waiting_since for claim in claims} == since


async def test_the_fairness_key_lasts_as_long_as_the_job(rig: Rig) -> None:
    await rig.publish("m1", key="café")
    claim = await rig.take_one()
    await rig.queue.retry(claim, failure())
    await rig.promote_when_due()
    claim = await rig.take_one()
    assert claim.jobs[0].fairness_key == "café"
    state, job = await rig.queue.job_state("m1")
    assert (state, job and job.fairness_key) == (JobState.RUNNING, "café")
    (letter,) = await rig.queue.dead_letter(claim, DeadReason.PERMANENT, failure())
    assert letter.job.fairness_key == "café"
    assert await rig.queue.replay(letter.id)
    assert (await rig.take_one()).jobs[0].fairness_key == "café"
    buried = await rig.queue.bury(new_job("m2", "d", "café"), DeadReason.UNPROCESSABLE, failure())
    assert buried is not None
    assert buried.job.fairness_key == "café"


# --- debounce ---------------------------------------------------------------------------------------


async def test_debounce_makes_one_turn_of_a_slow_burst(rig: Rig) -> None:
    await rig.publish("m1", debounce_s=0.1)
    await rig.pass_time(0.06)
    before = rig.time()
    await rig.publish("m2", debounce_s=0.1)
    assert await rig.take() == []
    assert (await rig.queue.backlog()).delayed == 1
    waited = await rig.promote_when_due(since=before)
    assert waited >= 0.099, "the second message extends the wait"
    assert ids(await rig.take_one()) == ["m1", "m2"]


async def test_debounce_ends_at_its_maximum(rig: Rig) -> None:
    started = rig.time()
    for number in range(20):
        await rig.publish(f"m{number}", debounce_s=0.25)
        await rig.pass_time(0.05)
        if await rig.queue.promote():
            break
    assert 0.39 <= rig.time() - started < 0.9
    assert await rig.take()


async def test_messages_during_a_turn_are_debounced_too(rig: Rig) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    await rig.publish("m2", debounce_s=0.15)
    await rig.queue.complete(claim)
    assert await rig.take() == []
    await rig.promote_when_due()
    assert ids(await rig.take_one()) == ["m2"]


# --- retrying ---------------------------------------------------------------------------------------


async def test_a_retry_keeps_the_order_while_others_go_on(rig: Rig) -> None:
    await rig.publish("a1", conversation="a")
    claim = await rig.take_one()
    assert await rig.queue.retry(claim, failure()) == []
    await rig.publish("a2", conversation="a")
    await rig.publish("b1", conversation="b")
    other = await rig.take_one()
    assert ids(other) == ["b1"], "a1 waits, and a2 behind it"
    await rig.promote_when_due()
    again = await rig.take_one()
    assert ids(again) == ["a1"]
    assert again.jobs[0].attempts == 1
    assert await rig.queue.retried(within_s=300) == 1
    await rig.queue.complete(again)
    assert ids(await rig.take_one()) == ["a2"]


async def test_delays_grow_up_to_the_cap(rig: Rig) -> None:
    await rig.publish("m1")
    waits: list[float] = []
    for _ in range(2):
        claim, before = await rig.take_one(), rig.time()
        await rig.queue.retry(claim, failure())
        waits.append(await rig.promote_when_due(since=before))
    assert waits[0] >= 0.049
    assert waits[1] >= 0.099


async def test_retry_after_is_a_lower_bound(rig: Rig) -> None:
    await rig.publish("m1")
    claim, before = await rig.take_one(), rig.time()
    await rig.queue.retry(claim, failure(), retry_after=0.3)
    assert await rig.promote_when_due(since=before) >= 0.299


async def test_exhausted_attempts_end_as_a_dead_letter_with_all_of_them(rig: Rig) -> None:
    await rig.publish("m1")
    for number in range(2):
        assert await rig.queue.retry(await rig.take_one(), failure(f"try {number}")) == []
        await rig.promote_when_due()
    (letter,) = await rig.queue.retry(await rig.take_one(consumer="last"), failure("try 2"))
    assert (letter.reason, letter.queue, letter.job.id) == (DeadReason.EXHAUSTED, "inbound", "m1")
    assert letter.job.payload == new_job("m1").payload
    assert letter.job.trace == {"correlation_id": "trace-m1"}
    assert letter.job.attempts == 3
    assert [attempt.message for attempt in letter.job.history] == ["try 0", "try 1", "try 2"]
    last = letter.job.history[-1]
    assert (last.error_type, last.consumer, last.counted) == ("RetryableError", "last", True)
    assert "in failure" in last.traceback
    assert letter.job.published_at <= letter.job.history[0].at <= last.at <= letter.dead_at + 0.01
    assert await rig.queue.dead() == [letter]
    assert await rig.queue.dead_get(letter.id) == letter
    assert await rig.take() == []


async def test_a_poison_message_does_not_take_its_neighbours_along(rig: Rig) -> None:
    await rig.publish("good1", "poison", "good2")
    await rig.queue.retry(await rig.take_one(), failure())
    await rig.publish("good3")
    done: list[str] = []
    letters = []
    for _ in range(20):
        for claim in await rig.take():
            assert len(claim.jobs) == 1 or ids(claim) == ["good3"], "failed jobs are taken alone"
            if "poison" in ids(claim):
                letters += await rig.queue.retry(claim, failure())
            else:
                await rig.queue.complete(claim)
                done += ids(claim)
        if done == ["good1", "good2", "good3"]:
            break
        if (await rig.queue.backlog()).delayed:
            await rig.promote_when_due()
    assert done == ["good1", "good2", "good3"]
    assert [letter.job.id for letter in letters] == ["poison"]


async def test_several_jobs_given_up_are_repeated_one_by_one(rig: Rig) -> None:
    await rig.publish("m1", "m2")
    error = PermanentError("broken")
    assert await rig.queue.dead_letter(await rig.take_one(), DeadReason.PERMANENT, error) == []
    await rig.publish("m3")
    first = await rig.take_one()
    assert ids(first) == ["m1"]
    assert first.jobs[0].attempts == 0
    (letter,) = await rig.queue.dead_letter(first, DeadReason.PERMANENT, error)
    assert (letter.job.id, letter.reason) == ("m1", DeadReason.PERMANENT)
    second = await rig.take_one()
    assert ids(second) == ["m2"]
    await rig.queue.complete(second)
    assert ids(await rig.take_one()) == ["m3"]


async def test_snoozing_counts_no_attempt(rig: Rig) -> None:
    await rig.publish("m1", "m2")
    for _ in range(5):
        claim, before = await rig.take_one(), rig.time()
        await rig.queue.snooze(claim, delay_s=0.02, reason="busy")
        assert await rig.promote_when_due(since=before) >= 0.019
    claim = await rig.take_one()
    assert ids(claim) == ["m1", "m2"]
    assert [job.attempts for job in claim.jobs] == [0, 0]
    (note,) = claim.jobs[0].history
    assert (note.message, note.counted) == ("busy", False)


async def test_snoozing_has_an_end_where_a_limit_is_given(rig: Rig) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    assert await rig.queue.snooze(claim, delay_s=0.01, reason="away", limit_s=0.2)
    await rig.promote_when_due()
    claim = await rig.take_one()
    assert await rig.queue.snooze(claim, delay_s=0.25, reason="away", limit_s=0.2)
    await rig.promote_when_due()
    claim = await rig.take_one()
    assert not await rig.queue.snooze(claim, delay_s=0.01, reason="away", limit_s=0.2)
    assert claim.jobs[0].attempts == 0
    await rig.queue.snooze(claim, delay_s=0.01, reason="for another reason")
    await rig.promote_when_due()
    (letter,) = await rig.queue.dead_letter(await rig.take_one(), DeadReason.PERMANENT, failure())
    await rig.queue.replay(letter.id)
    again = await rig.take_one()
    assert await rig.queue.snooze(again, delay_s=0.01, reason="away", limit_s=0.2), "a new life"


async def test_a_released_turn_is_ready_at_once(rig: Rig) -> None:
    await rig.publish("m1", "m2")
    first = await rig.take_one()
    await rig.queue.release(first)
    second = await rig.take_one(consumer="two")
    assert ids(second) == ["m1", "m2"]
    assert [(job.attempts, job.crashes, job.history) for job in second.jobs] == [(0, 0, ())] * 2


# --- fences -----------------------------------------------------------------------------------------

SETTLE = {
    "heartbeat": lambda q, c: q.heartbeat(c),
    "complete": lambda q, c: q.complete(c),
    "retry": lambda q, c: q.retry(c, failure()),
    "snooze": lambda q, c: q.snooze(c, delay_s=0.0, reason="later"),
    "release": lambda q, c: q.release(c),
    "dead_letter": lambda q, c: q.dead_letter(c, DeadReason.PERMANENT, failure()),
}


@pytest.mark.parametrize("method", SETTLE)
async def test_a_replaced_consumer_settles_nothing(rig: Rig, method: str) -> None:
    await rig.publish("m1")
    stale = await rig.take_one(consumer="slow")
    (current,) = await rig.lose()
    with pytest.raises(StaleClaimError):
        await SETTLE[method](rig.queue, stale)
    await rig.queue.complete(current)
    assert await rig.queue.job_state("m1") == (JobState.DONE, None)


@pytest.mark.parametrize("method", SETTLE)
async def test_a_turn_is_settled_once(rig: Rig, method: str) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    await rig.queue.complete(claim)
    with pytest.raises(StaleClaimError):
        await SETTLE[method](rig.queue, claim)
    assert await rig.queue.dead() == []


async def test_the_same_consumer_can_be_stale(rig: Rig) -> None:
    await rig.publish("m1")
    first = await rig.take_one(consumer="heir")
    (second,) = await rig.lose()
    assert (second.consumer, second.deliveries) == ("heir", 2)
    with pytest.raises(StaleClaimError):
        await rig.queue.complete(first)
    await rig.queue.complete(second)


# --- leases and crashes ------------------------------------------------------------------------------


async def test_a_heartbeat_keeps_the_turn(rig: Rig) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    for _ in range(6):
        await rig.pass_time(0.05)
        assert await rig.queue.reclaim(consumer="heir", count=10) == []
        await rig.queue.heartbeat(claim)
    await rig.queue.complete(claim)


async def test_a_silent_consumers_turn_is_taken_over(rig: Rig) -> None:
    await rig.publish("m1")
    lost = await rig.take_one(consumer="dead")
    (claim,) = await rig.lose()
    assert ids(claim) == ["m1"]
    assert (claim.consumer, claim.deliveries) == ("heir", 2)
    assert claim.jobs[0].crashes == 1
    assert claim.jobs[0].attempts == 0
    assert claim.waiting_since == lost.waiting_since
    (note,) = claim.jobs[0].history
    assert (note.error_type, note.consumer) == ("ConsumerLost", "dead")
    await rig.queue.complete(claim)


async def test_reclaim_takes_no_more_than_asked(rig: Rig) -> None:
    for name in "abcd":
        await rig.publish(f"{name}1", conversation=name)
    assert len(await rig.take()) == 4
    await rig.pass_time(0.22)
    assert len(await rig.queue.reclaim(consumer="heir", count=3)) == 3
    assert len(await rig.queue.reclaim(consumer="heir", count=3)) == 1


async def test_a_killing_job_dies_after_its_limit_and_its_neighbours_finish(rig: Rig) -> None:
    await rig.publish("killer", "good1", "good2")
    deliveries, done = 0, list[str]()
    claims: list[Claim] = await rig.take()
    for _ in range(10):
        for claim in claims:
            if "killer" in ids(claim):
                deliveries += 1
            else:
                await rig.queue.complete(claim)
                done += ids(claim)
        claims = await rig.lose() + await rig.take()
        if not claims:
            break
    assert deliveries == 3
    assert done == ["good1", "good2"]
    (letter,) = rig.queue.pop_crash_letters()
    assert (letter.job.id, letter.reason, letter.job.crashes) == ("killer", DeadReason.CRASH, 3)
    assert [note.error_type for note in letter.job.history] == ["ConsumerLost"] * 3
    assert rig.queue.pop_crash_letters() == []
    assert await rig.queue.dead() == [letter]


async def test_the_heir_of_several_jobs_has_a_valid_claim(rig: Rig) -> None:
    await rig.publish("m1", "m2")
    await rig.take_one()
    await rig.publish("m3")
    (claim,) = await rig.lose()
    assert ids(claim) == ["m1"]
    await rig.queue.heartbeat(claim)
    await rig.queue.complete(claim)
    second = await rig.take_one()
    assert ids(second) == ["m2"]
    assert second.jobs[0].crashes == 1
    await rig.queue.complete(second)
    third = await rig.take_one()
    assert [(job.id, job.crashes) for job in third.jobs] == [("m3", 0)], "it came after the crash"


# --- dead letters -------------------------------------------------------------------------------------


async def bury(rig: Rig, *names: str) -> list[str]:
    found = []
    for name in names:
        letter = await rig.queue.bury(
            new_job(name, f"c-{name}"), DeadReason.UNPROCESSABLE, failure("what is this?")
        )
        assert letter is not None
        found.append(letter.id)
        await rig.pass_time(0.002)
    return found


async def test_burying_what_never_became_a_job(rig: Rig) -> None:
    job = new_job("m1")
    letter = await rig.queue.bury(job, DeadReason.UNPROCESSABLE, failure("what is this?"))
    assert letter is not None
    assert (letter.reason, letter.job.payload) == (DeadReason.UNPROCESSABLE, job.payload)
    assert letter.job.history[0].message == "what is this?"
    assert await rig.queue.bury(job, DeadReason.UNPROCESSABLE, failure()) is None
    assert not await rig.queue.publish(job), "it was accepted, as a dead letter"
    assert len(await rig.queue.dead()) == 1
    assert await rig.take() == []


async def test_an_accepted_job_is_not_buried(rig: Rig) -> None:
    await rig.publish("m1")
    assert await rig.queue.bury(new_job("m1"), DeadReason.UNPROCESSABLE, failure()) is None
    assert ids(await rig.take_one()) == ["m1"]


async def test_dead_letters_come_in_pages(rig: Rig) -> None:
    letters = await bury(rig, *(f"m{i}" for i in range(7)))
    pages, start = [], "-"
    while page := await rig.queue.dead(start=start, count=3):
        pages.append([letter.id for letter in page])
        start = f"({page[-1].id}"
    assert pages == [letters[:3], letters[3:6], letters[6:]]
    assert [letter.id for letter in await rig.queue.dead(start=letters[5])] == letters[5:]


async def test_dead_letters_come_newest_first_too(rig: Rig) -> None:
    letters = (await bury(rig, *(f"m{i}" for i in range(7))))[::-1]
    pages, before = [], ""
    while page := await rig.queue.dead_latest(before=before, count=3):
        pages.append([letter.id for letter in page])
        before = page[-1].id
    assert pages == [letters[:3], letters[3:6], letters[6:]]


async def test_replay_publishes_anew_and_keeps_the_history(rig: Rig) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    (letter,) = await rig.queue.dead_letter(claim, DeadReason.PERMANENT, failure("first life"))
    assert await rig.queue.replay(letter.id)
    assert not await rig.queue.replay(letter.id)
    assert await rig.queue.dead_get(letter.id) is None
    again = await rig.take_one()
    (job,) = again.jobs
    assert (job.id, job.attempts, job.crashes) == ("m1", 0, 0)
    assert (job.payload, job.trace) == (new_job("m1").payload, new_job("m1").trace)
    assert [note.message for note in job.history] == ["first life"]
    (second,) = await rig.queue.dead_letter(again, DeadReason.PERMANENT, failure("second life"))
    assert [note.message for note in second.job.history] == ["first life", "second life"]
    assert second.id != letter.id


async def test_a_replayed_job_waits_behind_the_running_turn(rig: Rig) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    (letter,) = await rig.queue.dead_letter(claim, DeadReason.PERMANENT, failure())
    await rig.publish("m2")
    running = await rig.take_one()
    assert await rig.queue.replay(letter.id)
    assert await rig.take() == []
    await rig.queue.complete(running)
    assert ids(await rig.take_one()) == ["m1"]


async def test_a_replayed_job_shares_no_turn(rig: Rig) -> None:
    await rig.publish("m1")
    claim = await rig.take_one()
    (letter,) = await rig.queue.dead_letter(claim, DeadReason.PERMANENT, failure())
    await rig.publish("m2")
    assert await rig.queue.replay(letter.id)
    await rig.publish("m3")
    turns = []
    for _ in range(3):
        claim = await rig.take_one()
        turns.append(ids(claim))
        await rig.queue.complete(claim)
    assert turns == [["m2"], ["m1"], ["m3"]]


async def test_purge_forgets_a_letter(rig: Rig) -> None:
    first, second = await bury(rig, "m1", "m2")
    assert await rig.queue.purge(first)
    assert not await rig.queue.purge(first)
    assert [letter.id for letter in await rig.queue.dead()] == [second]


@pytest.mark.parametrize("dead_id", ["", "nonsense", "1-", "999999999999-0"])
async def test_unknown_letters(rig: Rig, dead_id: str) -> None:
    assert await rig.queue.dead_get(dead_id) is None
    assert not await rig.queue.replay(dead_id)
    assert not await rig.queue.purge(dead_id)


# --- looking ------------------------------------------------------------------------------------------


async def test_backlog_counts_turns(rig: Rig) -> None:
    backlog = await rig.queue.backlog()
    assert (backlog.queue, backlog.waiting, backlog.in_flight) == ("inbound", 0, 0)
    assert backlog.oldest_waiting_s == 0.0
    for name in "abcd":
        await rig.publish(f"{name}1", f"{name}2", conversation=name)
        await rig.pass_time(0.01)
    await bury(rig, "m1")
    claims = await rig.take(count=2)
    await rig.queue.snooze(claims[0], delay_s=60, reason="later")
    await rig.pass_time(0.05)
    backlog = await rig.queue.backlog()
    assert (backlog.waiting, backlog.in_flight, backlog.delayed, backlog.dead) == (2, 1, 1, 1)
    assert 0.05 <= backlog.oldest_waiting_s < 5.0


async def test_job_state_through_a_jobs_life(rig: Rig) -> None:
    async def state() -> JobState:
        return (await rig.queue.job_state("m1"))[0]

    assert await rig.queue.job_state("m1") == (JobState.UNKNOWN, None)
    await rig.publish("m1")
    assert await state() is JobState.WAITING
    claim = await rig.take_one()
    await rig.publish("m2")
    assert await state() is JobState.RUNNING
    assert (await rig.queue.job_state("m2"))[0] is JobState.WAITING, "it came after the turn began"
    await rig.queue.retry(claim, failure("once"))
    state_now, job = await rig.queue.job_state("m1")
    assert state_now is JobState.DELAYED
    assert job is not None
    assert (job.attempts, job.history[0].message) == (1, "once")
    await rig.promote_when_due()
    (letter,) = await rig.queue.dead_letter(
        await rig.take_one(), DeadReason.PERMANENT, failure("twice")
    )
    state_now, job = await rig.queue.job_state("m1")
    assert state_now is JobState.DEAD
    assert job == letter.job
    await rig.queue.replay(letter.id)
    second = await rig.take_one()
    assert ids(second) == ["m2"]
    await rig.queue.complete(second)
    await rig.queue.complete(await rig.take_one())
    assert await rig.queue.job_state("m1") == (JobState.DONE, None)


# --- forgetting a conversation ------------------------------------------------------------------------


async def test_a_forgotten_conversation_leaves_nothing_and_its_turn_is_stale(rig: Rig) -> None:
    await rig.publish("m1", "m2", conversation="gone")
    claim = await rig.take_one()
    await rig.publish("m3", conversation="gone")
    await rig.publish("other", conversation="stays")
    assert len(await rig.queue.mailbox("gone")) == 3
    assert await rig.queue.forget("gone") == 3
    assert await rig.queue.mailbox("gone") == []
    assert await rig.queue.forget("gone") == 0
    with pytest.raises(StaleClaimError):
        await rig.queue.complete(claim)
    with pytest.raises(StaleClaimError):
        await rig.queue.dead_letter(claim, DeadReason.PERMANENT, failure("too late"))
    assert await rig.queue.dead() == []
    assert ids(await rig.take_one()) == ["other"]


async def test_waiting_and_delayed_conversations_are_forgotten_too(rig: Rig) -> None:
    for name in ("first", "second", "third"):
        await rig.publish(f"{name}-1", conversation=name)
    await rig.publish("slow", conversation="burst", debounce_s=0.3)
    assert await rig.queue.forget("second") == 1
    assert await rig.queue.forget("burst") == 1
    backlog = await rig.queue.backlog()
    assert (backlog.waiting, backlog.delayed) == (2, 0)
    assert [ids(claim) for claim in await rig.take(count=9)] == [["first-1"], ["third-1"]]
    await rig.publish("second-2", conversation="second")
    assert ids(await rig.take_one()) == ["second-2"], "it may begin anew"
