"""The product with a proxy in front of each store, and somebody who writes all the time."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.fixtures.proxy import Proxy, postgres_proxy, redis_proxy
from tests.integration.chain.house import BUSINESS, House, contact, open_house

PUBLISH_S, SPOOL_S = 2.0, 3.0
SOON: dict[str, dict[str, Any]] = {
    "ingress": {
        "publish_timeout_s": PUBLISH_S,
        "spool_timeout_s": SPOOL_S,
        "watch_interval_s": 0.2,
        "account_cache_s": 0.5,
    },
    "sender": {"spool_interval_s": 0.2, "resolve_after_s": 0.5, "sweep_older_than_s": 3.0},
    "queue": {"command_timeout_s": 1.0, "connect_timeout_s": 0.5},
    "store": {"acquire_timeout_s": 1.0, "command_timeout_s": 1.0, "connect_timeout_s": 1.0},
}
"""Time limits that a test can wait for, and long enough for a busy machine."""


REDIS, POSTGRES = "redis.recado.test", "postgres.recado.test"


class Names:
    """A name service: what stands at a name may change."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._ports: dict[str, int] = {}
        real = socket.getaddrinfo

        def look_up(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            if host in self._ports:
                return real("127.0.0.1", self._ports[host], *args, **kwargs)
            return real(host, port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", look_up)

    def named(self, name: str, address: str) -> str:
        """The address with the name in it, which leads there from now on."""
        parts = urlsplit(address)
        assert parts.port
        self.point(name, parts.port)
        return parts._replace(netloc=parts.netloc.replace("127.0.0.1", name)).geturl()

    def point(self, name: str, port: int) -> None:
        self._ports[name] = port


@dataclass
class Answer:
    status: int | None
    seconds: float


@dataclass
class Weather:
    house: House
    redis: Proxy
    postgres: Proxy
    anybody: httpx2.AsyncClient
    answers: list[Answer] = field(default_factory=list)
    written: dict[int, list[str]] = field(default_factory=dict)
    """What each contact wrote that was accepted."""

    async def write(self, body: str, *, of: int = 1) -> Answer:
        posted = await self.house.simulator.post(
            "/simulator/messages", json={"from": contact(of), "to": BUSINESS, "body": body}
        )
        document = posted.json()
        answer = Answer(document["webhook_status"], document["seconds"])
        self.answers.append(answer)
        if answer.status == 200:
            self.written.setdefault(of, []).append(body)
        return answer

    @asynccontextmanager
    async def chatter(self, *, contacts: int = 4, every_s: float = 0.1) -> AsyncIterator[None]:
        """Each contact writes one message after the other until the block ends."""
        stop = asyncio.Event()

        async def one(of: int) -> None:
            number = 0
            while not stop.is_set():
                number += 1
                await self.write(f"{of}.{number}", of=of)
                await asyncio.sleep(every_s)

        writing = [asyncio.create_task(one(of)) for of in range(1, contacts + 1)]
        try:
            yield
        finally:
            stop.set()
            await asyncio.gather(*writing)

    async def ready(self) -> tuple[int, dict[str, Any], float]:
        began = time.monotonic()
        answer = await self.anybody.get("/healthz/ready")
        return answer.status_code, answer.json()["parts"], time.monotonic() - began

    async def until_ready(self, *, seconds: float = 10) -> None:
        async with asyncio.timeout(seconds):
            while (await self.ready())[0] != 200:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.05)

    async def check_answers(self, *, seconds: float = 60) -> None:
        """Every accepted message is answered once, each contact's in the order they were written."""
        async with asyncio.timeout(seconds):
            for of, bodies in self.written.items():
                while (said := await self.said(of))[-1:] != bodies[-1:]:
                    assert len(said) <= len(bodies)
                    await asyncio.sleep(0.05)
                assert said == bodies
        await self.house.settle()
        for of, bodies in self.written.items():
            assert await self.said(of) == bodies
        assert [await queue.dead() for queue in self.house.stores.queues.values()] == [[], [], []]
        async with asyncio.timeout(seconds):
            # A row goes after its message was handed on.
            while await self.house.stores.spool.count():  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def said(self, of: int) -> list[str]:
        """What the echo said to the contact, message by message."""
        query = {"contact": contact(of), "after": 0}
        answer = await self.house.simulator.get("/simulator/messages", params=query)
        return [
            part
            for message in answer.json()["messages"]
            if message["direction"] == "outbound"
            for part in message["body"].removeprefix("You said: ").split(" / ")
        ]


@asynccontextmanager
async def open_weather(
    *,
    redis_url: str,
    database_url: str,
    prefix: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    names: Names | None = None,
    **sections: dict[str, Any],
) -> AsyncIterator[Weather]:
    """With `names` the product is told the stores' names, and those where they are."""
    merged = {name: {**SOON.get(name, {}), **sections.get(name, {})} for name in {*SOON, *sections}}
    async with (
        redis_proxy(redis_url) as (redis, redis_address),
        postgres_proxy(database_url) as (postgres, database_address),
        open_house(
            redis_url=names.named(REDIS, redis_address) if names else redis_address,
            prefix=prefix,
            database_url=names.named(POSTGRES, database_address) if names else database_address,
            folder=folder,
            monkeypatch=monkeypatch,
            **merged,
        ) as house,
        httpx2.AsyncClient(
            base_url=os.environ["RECADO_PUBLIC_URL"], trust_env=False, timeout=20
        ) as anybody,
    ):
        yield Weather(house, redis, postgres, anybody)


async def away(proxy: Proxy, how: str) -> None:
    """`cut` or `hung`."""
    if how == "cut":
        await proxy.cut()
    else:
        proxy.blackhole()


async def until(condition: Callable[[], bool], *, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for tells nobody
            await asyncio.sleep(0.02)


def slowest(answers: list[Answer], *, share: float) -> float:
    """The time within which that share of the answers came."""
    times = sorted(answer.seconds for answer in answers)
    return times[min(len(times) - 1, int(share * len(times)))]
