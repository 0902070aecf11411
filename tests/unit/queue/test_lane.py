"""Commands on one connection, to a server that answers when it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import hiredis
import pytest
from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from serve_app.queue.connection import QueueClient, connect
from serve_app.queue.lane import CommandLane
from serve_app.settings import QueueSettings
from tests.fixtures.certificates import self_signed

Command = list[str]


@dataclass
class StubServer:
    """Answers the handshake by itself; what else was asked waits in `asked` until `answer` is called."""

    password: str = ""
    handshakes: list[Command] = field(default_factory=list[Command])
    asked: list[tuple[Command, asyncio.StreamWriter]] = field(
        default_factory=list[tuple[Command, asyncio.StreamWriter]]
    )
    connections: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        parser = hiredis.Reader(encoding="utf-8", errors="strict")
        while data := await reader.read(65536):
            parser.feed(data)
            while command := cast("Command", parser.gets()):
                await self._take(command, writer)
        writer.close()

    async def _take(self, command: Command, writer: asyncio.StreamWriter) -> None:
        if command[0] == "PING":
            writer.write(b"+PONG\r\n")
            return
        if command[0] in {"AUTH", "SELECT", "CLIENT"}:
            self.handshakes.append(command)
            wrong = command[0] == "AUTH" and command[-1] != self.password
            writer.write(b"-WRONGPASS invalid username-password pair\r\n" if wrong else b"+OK\r\n")
            return
        async with self.changed:
            self.asked.append((command, writer))
            self.changed.notify_all()

    async def wait_for(self, count: int) -> list[str]:
        """The names of the commands that wait, once there are so many."""
        async with asyncio.timeout(5), self.changed:
            await self.changed.wait_for(lambda: len(self.asked) >= count)
        return [command[0] for command, _ in self.asked]

    def answer(self) -> None:
        """All that waits, in its order."""
        for command, writer in self.asked:
            text = "-STALE not yours" if command[0] == "STALE" else f"+did {command[0]}"
            writer.write(f"{text}\r\n".encode())
        self.asked.clear()

    def hang_up(self) -> None:
        for _, writer in self.asked:
            writer.close()
        self.asked.clear()


@asynccontextmanager
async def stub_server(
    folder: Path, *, password: str = "", tls: ssl.SSLContext | None = None
) -> AsyncGenerator[StubServer]:
    stub = StubServer(password=password)
    if tls is None:
        path = folder / "stub.sock"
        server = await asyncio.start_unix_server(stub.serve, path)
        stub.url = f"unix://{path}"
    else:
        server = await asyncio.start_server(stub.serve, "127.0.0.1", 0, ssl=tls)
        port = server.sockets[0].getsockname()[1]
        stub.url = f"rediss://assistant:{password}@127.0.0.1:{port}/3"
    async with server:
        yield stub


@pytest.fixture
async def stub(tmp_path: Path) -> AsyncIterator[StubServer]:
    async with stub_server(tmp_path) as server:
        yield server


@pytest.fixture
async def client(stub: StubServer) -> AsyncIterator[Redis]:
    redis = connect(stub.url, QueueSettings(command_timeout_s=0.3))
    yield redis
    await redis.aclose()


@pytest.fixture
def lane(client: Redis) -> CommandLane:
    return lane_of(client)


def lane_of(client: Redis) -> CommandLane:
    assert isinstance(client, QueueClient)
    return client.lane


async def answered(stub: StubServer, lane: CommandLane, name: str) -> Any:
    asking = asyncio.create_task(lane.execute(name))
    await stub.wait_for(1)
    stub.answer()
    return await asking


async def test_no_command_waits_for_another(lane: CommandLane, stub: StubServer) -> None:
    asking = [asyncio.create_task(lane.execute(name)) for name in ("A", "B", "STALE", "C")]
    assert await stub.wait_for(4) == ["A", "B", "STALE", "C"]
    stub.answer()
    first, second, stale, third = await asyncio.gather(*asking, return_exceptions=True)
    assert (first, second, third) == ("did A", "did B", "did C")
    assert isinstance(stale, ResponseError)
    assert stub.connections == 1


async def test_an_answer_that_nobody_waits_for_is_nobody_elses(
    lane: CommandLane, stub: StubServer
) -> None:
    first, gone, last = (asyncio.create_task(lane.execute(name)) for name in "ABC")
    await stub.wait_for(3)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    stub.answer()
    assert await asyncio.gather(first, last) == ["did A", "did C"]
    assert await answered(stub, lane, "D") == "did D"
    assert stub.connections == 1


async def test_what_was_on_a_lost_connection_is_sent_once_more(
    lane: CommandLane, stub: StubServer
) -> None:
    asking = [asyncio.create_task(lane.execute(name)) for name in "ABC"]
    await stub.wait_for(3)
    stub.hang_up()
    assert sorted(await stub.wait_for(3)) == ["A", "B", "C"]
    stub.answer()
    assert await asyncio.gather(*asking) == ["did A", "did B", "did C"]
    assert stub.connections == 2


async def test_a_command_that_is_lost_twice_is_given_up_and_the_next_one_works(
    lane: CommandLane, stub: StubServer
) -> None:
    asking = asyncio.create_task(lane.execute("A"))
    for _ in range(2):
        await stub.wait_for(1)
        stub.hang_up()
    with pytest.raises(RedisConnectionError):
        await asking
    assert await answered(stub, lane, "B") == "did B"


async def test_a_connection_that_broke_while_nothing_was_asked_is_replaced(
    lane: CommandLane, stub: StubServer
) -> None:
    asking = asyncio.create_task(lane.execute("A"))
    await stub.wait_for(1)
    _, writer = stub.asked[0]
    stub.answer()
    assert await asking == "did A"
    writer.close()
    await asyncio.sleep(0)
    assert await answered(stub, lane, "B") == "did B"


async def test_a_server_that_owes_an_answer_is_taken_for_gone(
    lane: CommandLane, stub: StubServer
) -> None:
    asking = [asyncio.create_task(lane.execute(name)) for name in "AB"]
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(answer, RedisTimeoutError)
    stub.asked.clear()
    assert await answered(stub, lane, "C") == "did C"
    assert stub.connections == 2


async def test_an_answer_that_nobody_asked_for_ends_the_connection(
    lane: CommandLane, stub: StubServer
) -> None:
    asking = asyncio.create_task(lane.execute("A"))
    await stub.wait_for(1)
    stub.asked[0][1].write(b"+did A\r\n+and more\r\n")
    stub.asked.clear()
    assert await asking == "did A"
    assert await answered(stub, lane, "B") == "did B"
    assert stub.connections == 2


async def test_nobody_listens(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path}/nobody", QueueSettings())
    asking = [lane_of(client).execute(name) for name in "ABC"]
    for answer in await asyncio.gather(*asking, return_exceptions=True):
        assert isinstance(answer, RedisConnectionError)
    await client.aclose()


async def test_the_lane_goes_on_when_whoever_opened_it_stopped_waiting(
    lane: CommandLane, stub: StubServer
) -> None:
    first = asyncio.create_task(lane.execute("A"))
    second = asyncio.create_task(lane.execute("B"))
    await asyncio.sleep(0)
    first.cancel()
    await stub.wait_for(1)
    stub.answer()
    assert await second == "did B"
    assert stub.connections == 1


async def test_the_lanes_connection_closes_with_the_client(
    client: Redis, lane: CommandLane, stub: StubServer
) -> None:
    assert await answered(stub, lane, "A") == "did A"
    asking = asyncio.create_task(lane.execute("B"))
    await stub.wait_for(1)
    _, writer = stub.asked[0]
    async with asyncio.timeout(1):
        await client.aclose()
        while not writer.is_closing():  # noqa: ASYNC110 -- the other end's doing
            await asyncio.sleep(0.001)
    asking.cancel()


@pytest.mark.parametrize("right", [True, False])
async def test_tls_credentials_and_database_are_those_of_the_address(
    tmp_path: Path, right: bool
) -> None:
    certificate = self_signed(tmp_path, "127.0.0.1")
    async with stub_server(tmp_path, password="hunter2", tls=certificate.server()) as stub:
        url = stub.url if right else stub.url.replace("hunter2", "hunter3")
        client = connect(f"{url}?ssl_ca_certs={certificate.path}", QueueSettings())
        if right:
            assert await answered(stub, lane_of(client), "A") == "did A"
        else:
            with pytest.raises(AuthenticationError):
                await lane_of(client).execute("A")
        await client.aclose()
    said = [command for command in stub.handshakes if command[0] != "CLIENT"]
    login = ["AUTH", "assistant", "hunter2" if right else "hunter3"]
    assert said == ([login, ["SELECT", "3"]] if right else [login] * len(said))
