"""Commands of many tasks in one round trip."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

from redis.asyncio import Redis, RedisCluster

AT_MOST = 128
"""Commands of one round trip, so that no answer waits for too many others."""

LANES = 2
"""Round trips at a time: one is written while the other's answers are read."""

Arg = str | int


class Pipeline(Protocol):
    """What is used of redis-py's, which is untyped."""

    def execute_command(self, *command: Arg) -> Any: ...

    def execute(self, raise_on_error: bool = True) -> Awaitable[list[Any]]: ...


class CommandLane:
    """Sends what was asked for while the last round trip was under way in the next one.

    A command alone goes out at once, as without a lane. Of many at a time the client's part costs a
    fraction, and the server syncs its log once for all of them. Each script stays atomic by itself. A
    round trip that fails as a whole fails for every command in it; one command's error is its own.
    """

    def __init__(self, redis: Redis, *, lanes: int = LANES) -> None:
        self._execute = cast("Callable[..., Awaitable[Any]]", redis.execute_command)  # pyright: ignore[reportUnknownMemberType] - untyped there
        self._pipeline = cast("Callable[..., Pipeline]", redis.pipeline)  # pyright: ignore[reportUnknownMemberType] - untyped there
        # A pipeline would have to be cut up by node.
        self._lanes = 2**31 if isinstance(redis, RedisCluster) else lanes
        self._busy = 0
        self._working: set[asyncio.Task[None]] = set()
        self._waiting: list[tuple[tuple[Arg, ...], asyncio.Future[Any]]] = []

    async def execute(self, *command: Arg) -> Any:
        """Raises what redis-py raises. Whoever is cancelled while waiting is left out of the round trip."""
        if self._busy < self._lanes:
            self._busy += 1
            try:
                return await self._execute(*command)
            finally:
                self._hand_on()
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((command, answer))
        return await answer

    def _hand_on(self) -> None:
        if not self._waiting:
            self._busy -= 1
            return
        task = asyncio.create_task(self._work())
        self._working.add(task)
        task.add_done_callback(self._working.discard)

    async def _work(self) -> None:
        """Until nobody waits; each round trip is bounded by the connection's time limit."""
        try:
            while self._waiting:
                batch = [entry for entry in self._waiting[:AT_MOST] if not entry[1].done()]
                del self._waiting[:AT_MOST]
                await self._round_trip(batch)
        finally:
            self._busy -= 1

    async def _round_trip(self, batch: list[tuple[tuple[Arg, ...], asyncio.Future[Any]]]) -> None:
        if not batch:
            return
        pipeline = self._pipeline(transaction=False)
        for command, _ in batch:
            pipeline.execute_command(*command)
        answers: list[Any]
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except Exception as error:
            # Whatever it is, such as an argument that can't be encoded: nobody was cancelled.
            answers = [error] * len(batch)
        except BaseException:
            for _, waiter in batch:
                waiter.cancel()
            raise
        for (_, waiter), answer in zip(batch, answers, strict=True):
            if waiter.done():
                continue
            if isinstance(answer, Exception):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)
