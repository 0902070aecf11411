"""One connection on which no command waits for the answer to another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import hiredis
from redis.asyncio.connection import DefaultParser
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import InvalidResponse
from redis.exceptions import TimeoutError as RedisTimeoutError

Arg = str | int

_NOTHING_YET = object()
_pack = cast("Callable[[tuple[Arg, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType] - untyped there


class Connection(Protocol):
    """What is used of redis-py's, which is untyped."""

    _writer: asyncio.StreamWriter | None

    async def disconnect(self, nowait: bool = False) -> None: ...


class Wire(asyncio.Protocol):
    """Takes over a connection that redis-py has opened: address, TLS, credentials and database are its
    business, and so is closing.

    What is asked leaves at once, whatever is asked in one turn of the event loop in one write, and answers
    come in the order of the questions. Whoever doesn't wait for an answer any more leaves its place to it. A
    server that owes an answer for `limit_s` is taken for gone.
    """

    def __init__(self, connection: Connection, *, limit_s: float) -> None:
        writer = connection._writer  # pyright: ignore[reportPrivateUsage] - redis-py hands it to nobody
        if writer is None:
            raise RedisConnectionError("the connection was closed")
        self._connection = connection
        self._limit_s = limit_s
        self._loop = asyncio.get_running_loop()
        self._asked: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._look: asyncio.TimerHandle | None = None
        self._lost: Callable[[], Exception] | None = None
        parse_error = cast("Callable[[str], Exception]", DefaultParser.parse_error)  # pyright: ignore[reportUnknownMemberType] - untyped there
        self._reader = hiredis.Reader(
            protocolError=InvalidResponse,
            replyError=parse_error,
            encoding="utf-8",
            errors="strict",
            notEnoughData=_NOTHING_YET,
        )
        self._transport = cast("asyncio.Transport", writer.transport)
        # Waits for the end of the connection when redis-py closes it.
        self._streams = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def lost(self) -> bool:
        return self._lost is not None or self._transport.is_closing()

    def ask(self, command: tuple[Arg, ...]) -> asyncio.Future[Any]:
        """The answer, or what redis-py would raise for it."""
        if self.lost:
            raise RedisConnectionError("the connection was closed")
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._transport.write(_pack(command))
        self._asked.append((answer, self._loop.time() + self._limit_s))
        if self._look is None:
            self._look = self._loop.call_later(self._limit_s, self._look_for_answers)
        return answer

    async def leave(self, release: Callable[[Connection], Awaitable[None]]) -> None:
        """Gives the connection back, closed."""
        await self._connection.disconnect(nowait=True)
        await release(self._connection)

    # --- what the transport tells --------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (answer := self._reader.gets()) is not _NOTHING_YET:
                self._answer(answer)
        except (InvalidResponse, ValueError, IndexError) as error:
            text = f"not an answer that was asked for: {error}"
            self._give_up(lambda: InvalidResponse(text))

    def connection_lost(self, exc: Exception | None) -> None:
        text = f"connection lost: {exc}" if exc else "connection closed by the server"
        self._give_up(lambda: RedisConnectionError(text))
        self._streams.connection_lost(exc)

    # -------------------------------------------------------------------------------------------

    def _answer(self, answer: Any) -> None:
        future, _ = self._asked.popleft()
        if future.done():
            return
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)

    def _look_for_answers(self) -> None:
        self._look = None
        if not self._asked:
            return
        due = self._asked[0][1]
        if self._loop.time() >= due:
            self._give_up(lambda: RedisTimeoutError("no answer in time"))
        else:
            self._look = self._loop.call_at(due, self._look_for_answers)

    def _give_up(self, reason: Callable[[], Exception]) -> None:
        if self._lost is None:
            self._lost = reason
            self._transport.abort()
        if self._look is not None:
            self._look.cancel()
            self._look = None
        asked, self._asked = self._asked, deque()
        for future, _ in asked:
            if not future.done():
                future.set_exception(reason())
