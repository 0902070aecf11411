"""Send rates on a real server, of several replicas at once; tests/contract has the rest."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from serve_app.ports import SendLane
from serve_app.queue.connection import connect
from serve_app.queue.send_rates import RedisSendRates
from serve_app.settings import QueueSettings

pytestmark = pytest.mark.integration


def lane(recipient: str = "+1", **changes: Any) -> SendLane:
    fields: dict[str, Any] = {
        "account_id": "AC1",
        "sender": "+100",
        "recipient": recipient,
        "per_second": 20.0,
        "burst": 4,
        "recipient_per_second": 100.0,
        "recipient_burst": 100,
    }
    return SendLane(**{**fields, **changes})


@pytest.fixture
async def replicas(valkey_url: str, redis_prefix: str) -> AsyncIterator[list[RedisSendRates]]:
    clients = [connect(valkey_url, QueueSettings()) for _ in range(3)]
    yield [RedisSendRates(redis=redis, prefix=redis_prefix, timeout_s=10) for redis in clients]
    for redis in clients:
        await redis.aclose()


async def send(rates: RedisSendRates, on: SendLane, who: str) -> float:
    """Ask as the sender does; the moment at which it may go."""
    while wait := await rates.acquire(on, who):  # noqa: ASYNC110
        await asyncio.sleep(wait)
    return time.monotonic()


async def test_a_burst_and_then_the_rate_for_all_replicas_together(
    replicas: list[RedisSendRates],
) -> None:
    started = time.monotonic()
    times = await asyncio.gather(
        *(send(replicas[n % 3], lane(f"+{n}"), f"reply{n}") for n in range(30))
    )
    # Four at once, 26 at 20 a second; however slow this machine is it can't be faster.
    assert max(times) - started >= 26 / 20 - 0.05
    assert max(times) - started < 15


async def test_one_that_waits_is_not_overtaken(replicas: list[RedisSendRates]) -> None:
    on = lane(per_second=2.0, burst=1)
    assert await replicas[0].acquire(on, "a") == 0
    wait = await replicas[0].acquire(on, "b")
    assert 0 < wait <= 0.5
    behind = await replicas[1].acquire(on, "c")
    assert behind > wait
    await asyncio.sleep(wait)
    # The token that has come is kept for the one in front.
    assert await replicas[1].acquire(on, "d") > 0
    assert await replicas[0].acquire(on, "b") == 0


async def test_too_fast_pauses_all_replicas_and_slows_them_down(
    replicas: list[RedisSendRates],
) -> None:
    first, second, third = replicas
    assert 0.9 < await first.slow_down(lane()) <= 1.0
    # Refusals of what was under way at the same time are no further strikes.
    assert await second.slow_down(lane()) <= 1.0
    assert await third.acquire(lane(), "a") > 0.5
    assert await third.acquire(lane(sender="+200"), "b") == 0
    assert 6.5 < await first.slow_down(lane(), at_least_s=7.0) <= 7.0


async def test_no_number_is_left_on_the_server(
    replicas: list[RedisSendRates], valkey_url: str, redis_prefix: str
) -> None:
    await replicas[0].acquire(lane("whatsapp:+34600000001"), "a")
    redis = connect(valkey_url, QueueSettings())
    keys = [key async for key in redis.scan_iter(match=f"{redis_prefix}:*")]
    assert keys
    assert not any("34600000001" in key for key in keys)
    assert all([0 < await redis.ttl(key) < 600 for key in keys])
    await redis.aclose()
