"""Commands that share round trips, over a client that only notes what it was asked."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from serve_app.queue.lane import CommandLane


class NotingRedis:
    """Single commands wait for `gate`; a pipeline answers at once with `reply` of each command."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.alone: list[tuple[Any, ...]] = []
        self.together: list[list[tuple[Any, ...]]] = []
        self.broken = False

    async def execute_command(self, *command: Any) -> Any:
        self.alone.append(command)
        await self.gate.wait()
        return self.reply(command)

    def pipeline(self, *, transaction: bool) -> NotingPipeline:
        assert not transaction
        return NotingPipeline(self)

    def reply(self, command: tuple[Any, ...]) -> Any:
        return ResponseError("STALE") if command[0] == "STALE" else f"did {command[0]}"


class NotingPipeline:
    def __init__(self, redis: NotingRedis) -> None:
        self._redis = redis
        self._commands: list[tuple[Any, ...]] = []

    def execute_command(self, *command: Any) -> None:
        self._commands.append(command)

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        assert not raise_on_error
        self._redis.together.append(self._commands)
        if self._redis.broken:
            raise RedisConnectionError("gone")
        return [self._redis.reply(command) for command in self._commands]


@pytest.fixture
def redis() -> NotingRedis:
    return NotingRedis()


@pytest.fixture
def lane(redis: NotingRedis) -> CommandLane:
    return CommandLane(cast("Redis", redis), lanes=1)


async def ask(lane: CommandLane, *names: str) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(lane.execute(name)) for name in names]
    await asyncio.sleep(0)
    return tasks


async def test_a_command_alone_goes_out_at_once(lane: CommandLane, redis: NotingRedis) -> None:
    redis.gate.set()
    assert await lane.execute("A") == "did A"
    assert await lane.execute("B") == "did B"
    assert redis.together == []


async def test_what_was_asked_meanwhile_goes_together(
    lane: CommandLane, redis: NotingRedis
) -> None:
    tasks = await ask(lane, "A", "B", "STALE", "C")
    redis.gate.set()
    first, second, stale, third = await asyncio.gather(*tasks, return_exceptions=True)
    assert (first, second, third) == ("did A", "did B", "did C")
    assert isinstance(stale, ResponseError)
    assert redis.together == [[("B",), ("STALE",), ("C",)]]


async def test_whoever_gave_up_waiting_is_left_out(lane: CommandLane, redis: NotingRedis) -> None:
    first, gone, last = await ask(lane, "A", "B", "C")
    gone.cancel()
    await asyncio.sleep(0)
    redis.gate.set()
    assert await asyncio.gather(first, last) == ["did A", "did C"]
    assert redis.together == [[("C",)]]


async def test_a_round_trip_that_fails_fails_for_all_and_the_lane_goes_on(
    lane: CommandLane, redis: NotingRedis
) -> None:
    redis.broken = True
    first, *others = await ask(lane, "A", "B", "C")
    redis.gate.set()
    assert await first == "did A"
    for answer in await asyncio.gather(*others, return_exceptions=True):
        assert isinstance(answer, RedisConnectionError)
    assert await lane.execute("D") == "did D"


async def test_the_lane_goes_on_after_a_cancelled_command(
    lane: CommandLane, redis: NotingRedis
) -> None:
    first, second = await ask(lane, "A", "B")
    first.cancel()
    assert await second == "did B"
    redis.gate.set()
    assert await lane.execute("C") == "did C"


async def test_an_argument_that_cannot_be_sent_cancels_nobody(
    lane: CommandLane, redis: NotingRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = await ask(lane, "A", "B", "C")

    async def fail(_self: Any, raise_on_error: bool = True) -> list[Any]:
        raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")

    with monkeypatch.context() as patched:
        patched.setattr(NotingPipeline, "execute", fail)
        redis.gate.set()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer).__name__ for answer in answers[1:]] == ["UnicodeEncodeError"] * 2
    assert await lane.execute("D") == "did D"
