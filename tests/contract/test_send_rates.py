"""What every `ports.SendRates` promises: run against Redis and the one in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from serve_app.ports import SendLane, SendRates
from serve_app.queue.connection import connect
from serve_app.queue.send_rates import RedisSendRates
from serve_app.settings import QueueSettings
from serve_app.testing.rates import MemorySendRates
from tests.unit.conversation.stage import ManualClock


@dataclass
class Rig:
    rates: SendRates
    pass_time: Callable[[float], Awaitable[None]]


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.integration)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    limits = {"longest_pause_s": 1.5, "recovery_s": 2.0}
    if request.param == "memory":
        clock = ManualClock()
        yield Rig(MemorySendRates(clock, **limits), clock.sleep)
        return
    redis = connect(request.getfixturevalue("valkey_url"), QueueSettings())
    prefix = request.getfixturevalue("redis_prefix")
    try:
        yield Rig(RedisSendRates(redis=redis, prefix=prefix, timeout_s=10, **limits), asyncio.sleep)
    finally:
        await redis.aclose()


def lane(recipient: str = "+1", **changes: Any) -> SendLane:
    """Slow enough that a busy machine doesn't earn a token between two lines of a test."""
    fields: dict[str, Any] = {
        "account_id": "AC1",
        "sender": "+100",
        "recipient": recipient,
        "per_second": 0.05,
        "burst": 3,
        "recipient_per_second": 0.05,
        "recipient_burst": 100,
    }
    return SendLane(**{**fields, **changes})


async def test_a_burst_goes_at_once_and_the_next_waits_for_its_token(rig: Rig) -> None:
    assert [await rig.rates.acquire(lane(), f"r{n}") for n in range(3)] == [0, 0, 0]
    assert 15 < await rig.rates.acquire(lane(), "r3") <= 20


async def test_tokens_come_back_with_time(rig: Rig) -> None:
    on = lane(per_second=2.0, burst=1)
    assert await rig.rates.acquire(on, "a") == 0
    await rig.pass_time(0.6)
    assert await rig.rates.acquire(on, "b") == 0


async def test_who_waits_has_a_place_in_line(rig: Rig) -> None:
    on = lane(burst=1)
    assert await rig.rates.acquire(on, "a") == 0
    first = await rig.rates.acquire(on, "b")
    second = await rig.rates.acquire(on, "c")
    assert 15 < first <= 20
    assert 15 < second - first <= 21, "a token for each that is in front"
    assert abs(await rig.rates.acquire(on, "b") - first) < 5, "asking again costs nothing"


async def test_a_contacts_rate_holds_nobody_else_up(rig: Rig) -> None:
    on = {"recipient_burst": 2, "burst": 10}
    assert [await rig.rates.acquire(lane("+1", **on), str(n)) for n in range(2)] == [0, 0]
    assert 15 < await rig.rates.acquire(lane("+1", **on), "x") <= 20
    assert await rig.rates.acquire(lane("+2", **on), "y") == 0


async def test_a_message_pays_for_its_segments(rig: Rig) -> None:
    assert await rig.rates.acquire(lane(burst=10), "a", cost=8) == 0
    assert 100 < await rig.rates.acquire(lane(burst=10), "b", cost=8) <= 120
    # More than can ever be saved up: once all is there.
    assert await rig.rates.acquire(lane(sender="+200"), "c", cost=50) == 0


async def test_senders_and_accounts_have_rates_of_their_own(rig: Rig) -> None:
    assert await rig.rates.acquire(lane(burst=1), "a") == 0
    assert await rig.rates.acquire(lane(burst=1), "b") > 0
    assert await rig.rates.acquire(lane(burst=1, sender="+200"), "c") == 0
    assert await rig.rates.acquire(lane(burst=1, account_id="AC2"), "d") == 0


async def test_too_fast_pauses_the_sender_once_for_all_that_were_under_way(rig: Rig) -> None:
    first = await rig.rates.slow_down(lane())
    assert 0.9 < first <= 1.0
    assert await rig.rates.slow_down(lane()) <= 1.0
    assert await rig.rates.acquire(lane(), "a") > 0
    assert await rig.rates.acquire(lane(sender="+200"), "b") == 0


async def test_a_further_strike_pauses_longer_up_to_the_limit(rig: Rig) -> None:
    await rig.pass_time(await rig.rates.slow_down(lane()) + 0.05)
    # Half of the first strike is forgotten by now: 0.5 s doubled about one and a half times.
    assert 1.0 < await rig.rates.slow_down(lane()) <= 1.5
    assert 29 < await rig.rates.slow_down(lane(), at_least_s=30.0) <= 30, "the provider's own wish"


async def test_after_a_strike_it_goes_at_half_its_rate(rig: Rig) -> None:
    await rig.pass_time(await rig.rates.slow_down(lane()) + 0.01)
    assert await rig.rates.acquire(lane(), "a") == 0, "one is there"
    assert await rig.rates.acquire(lane(), "b") > 20, "twenty at its full rate"
