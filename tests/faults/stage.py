"""One row's product: simulator, ingress, workers and senders, each a process, over stores of the campaign."""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import asyncpg
import httpx2
from cryptography.fernet import Fernet
from pydantic import SecretStr

from models.accounts import Owner, PhoneNumber, Plan, TwilioAccount
from serve_app.bootstrap import Stores, open_stores
from serve_app.local.servers import free_port, somebody_listens
from serve_app.settings import AppSettings, EnvironmentSettings
from tests.faults.actor import Part
from tests.faults.processes import Actor
from tests.faults.scoring import Score, score, write_history
from tests.faults.servers import Servers
from tests.faults.traffic import BUSINESS, Traffic
from tests.faults.watch import Journal, Orders, read_journals
from tests.fixtures.proxy import Proxy, postgres_proxy, redis_proxy

ACCOUNT_SID = "AC" + "7" * 32
TOKEN = "a-token-of-the-campaign"

QUICK: dict[str, dict[str, Any]] = {
    "queue": {
        "lease_s": 2.0,
        "max_attempts": 20,
        "max_crashes": 20,
        "backoff_base_s": 0.1,
        "backoff_cap_s": 1.0,
        "command_timeout_s": 2.0,
    },
    "store": {
        "pool_max": 4,
        "connect_timeout_s": 2.0,
        "command_timeout_s": 5.0,
        "acquire_timeout_s": 3.0,
    },
    "worker": {
        "block_s": 0.5,
        "scan_interval_s": 0.2,
        "promote_interval_s": 0.05,
        "drain_s": 3.0,
    },
    "sender": {
        "resolve_after_s": 1.0,
        "sweep_interval_s": 0.5,
        "sweep_older_than_s": 5.0,
        "max_attempts": 40,
        "whatsapp_per_second": 10_000,
        "recipient_burst": 100_000,
        # The simulator's 429s come by chance, however slowly one goes.
        "slow_down_pause_s": 0.1,
        "slow_down_recovery_s": 0.5,
    },
    "twilio": {"request_timeout_s": 4.0},
    "conversation": {"debounce_s": 0.05, "typing_indicator": False},
    "ingress": {"publish_timeout_s": 1.0, "account_cache_s": 5.0},
    "log": {"level": "warning"},
}
"""Short leases and waits, so that a row doesn't spend its time waiting; many crashes and attempts, so that
what dies is the processes and not the messages."""


@dataclass
class Stage:
    servers: Servers
    folder: Path
    settings: AppSettings
    stores: Stores
    traffic: Traffic
    simulator: httpx2.AsyncClient
    orders: Orders
    random: Random
    database_url: str
    port: int
    actors: dict[str, Actor] = field(default_factory=dict)
    wires: list[Proxy] = field(default_factory=list)
    """To Valkey and to Postgres, if asked for."""
    kills: int = 0
    _log: Journal | None = None

    def note(self, event: str, **fields: object) -> None:
        """Into the history: what the campaign did."""
        assert self._log is not None
        self._log.write(event, **fields)

    # --- processes -------------------------------------------------------------------------------

    def of(self, role: str) -> list[Actor]:
        return [actor for actor in self.actors.values() if actor.role == role]

    async def kill(self, actor: Actor) -> None:
        self.kills += 1
        self.note("fault", what="SIGKILL", actor=actor.name, process=actor.pid)
        await asyncio.to_thread(actor.kill)
        actor.start()

    async def kill_at(self, point: str, *, seconds: float = 20) -> bool:
        """Let the next process that comes to the point kill itself, and replace it. False if none came."""
        self.orders.give(point)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            if self.orders.obeyed(point):
                self.note("fault", what="SIGKILL", point=point)
                while not await self.replace_dead():  # noqa: ASYNC110 - a process tells nobody
                    await asyncio.sleep(0.01)
                self.kills += 1
                return True
        self.orders.withdraw()
        return False

    async def freeze_at(self, point: str, *, leases: float, seconds: float = 20) -> bool:
        """Let the next process that comes to the point freeze itself, and thaw it after so many leases. False
        if none came."""
        self.orders.give(point, "stop")
        deadline = time.monotonic() + seconds
        while (process := self.orders.frozen(point)) is None:
            if time.monotonic() > deadline:
                self.orders.withdraw()
                return False
            await asyncio.sleep(0.02)
        (victim,) = [actor for actor in self.actors.values() if actor.pid == process]
        self.note("fault", what="SIGSTOP", point=point, actor=victim.name)
        await asyncio.sleep(leases * self.settings.queue.lease_s)
        victim.send(signal.SIGCONT)
        self.note("fault", what="SIGCONT", point=point, actor=victim.name)
        return True

    async def replace_dead(self) -> int:
        """As Ray Serve would: a new process in the place of each that has ended."""
        dead = [actor for actor in self.actors.values() if not actor.alive]
        for actor in dead:
            actor.start()
        return len(dead)

    # --- the end ---------------------------------------------------------------------------------

    async def settle(self, *, seconds: float = 90, but: int = 0) -> bool:
        """Whether everything accepted (but so many) is answered and nothing is left to do. Ends with a pause
        in which a late duplicate would show."""
        if not await self.traffic.all_answered(seconds=seconds, but=but):
            await self._describe_rest()
            return False
        idle = await self.is_idle(seconds=30)
        if not idle:
            await self._describe_rest()
        await asyncio.sleep(self.settings.queue.lease_s / 2)
        await self.traffic.look()
        return idle

    async def _describe_rest(self) -> None:
        """Into the history: where what is missing lies."""
        missing = self.traffic.missing()
        rows = await self.query(
            "SELECT id, body, status, error_message, conversation_key, updated_at FROM replies"
            " WHERE status NOT IN ('sent', 'failed')"
        )
        for row in rows:
            state, _ = await self.stores.outbound.job_state(row["id"])
            self.note("unsent reply", queue=state.value, **{k: str(v) for k, v in row.items()})
        for queue in self.stores.queues.values():
            self.note("backlog", **(await queue.backlog()).model_dump())
            for letter in await queue.dead():
                self.note("dead letter", **letter.model_dump())
        open_messages = await self.query("SELECT * FROM messages WHERE turn_id IS NULL")
        for row in open_messages:
            self.note("open message", row=str(dict(row)))
        self.note("rest", missing=missing)

    async def is_idle(self, *, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            backlogs = [await queue.backlog() for queue in self.stores.queues.values()]
            if not any(b.waiting + b.in_flight + b.delayed for b in backlogs):
                return True
            await asyncio.sleep(0.1)
        return False

    def score(self, *, parked: set[str] | None = None) -> Score:
        posted, answers = self.traffic.posted.values(), self.traffic.answers
        write_history(self.folder, posted, answers)
        return score(posted, answers, parked=parked or set())

    def journal(self) -> list[dict[str, Any]]:
        return read_journals(self.folder / "journals")

    async def query(self, statement: str, *args: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url, timeout=10, command_timeout=30)
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close(timeout=5)

    async def simulate(self, **faults: object) -> None:
        self.note("fault", what="provider", **faults)
        (await self.simulator.put("/simulator/faults", json=faults)).raise_for_status()

    async def stats(self) -> dict[str, int]:
        return (await self.simulator.get("/simulator/stats")).json()


def merged(*layers: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    result: dict[str, dict[str, Any]] = {}
    for layer in layers:
        for section, values in layer.items():
            result.setdefault(section, {}).update(values)
    return result


@asynccontextmanager
async def open_stage(
    servers: Servers,
    *,
    folder: Path,
    random: Random,
    workers: int = 2,
    senders: int = 1,
    think_s: float = 0.0,
    clocks_s: tuple[float, ...] = (0.0,),
    wires: bool = False,
    owners: Mapping[str, str] | None = None,
    **sections: dict[str, Any],
) -> AsyncGenerator[Stage]:
    """`sections` are settings over `QUICK`; `clocks_s` are given out to the workers in turn; with `wires` the
    product reaches its stores through proxies; `owners` are businesses with their numbers."""
    settings = merged(QUICK, sections, {"queue": {"prefix": f"row-{uuid4().hex[:8]}"}})
    port, simulator_port = free_port(), free_port()
    public, origin = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{simulator_port}"
    database_url = await servers.create_database()
    stack = AsyncExitStack()
    redis_url, store_url, proxies = servers.valkey.url, database_url, list[Proxy]()
    if wires:
        redis_wire, redis_url = await stack.enter_async_context(redis_proxy(redis_url))
        store_wire, store_url = await stack.enter_async_context(postgres_proxy(store_url))
        proxies = [redis_wire, store_wire]
    environment = {
        "RECADO_REDIS_URL": redis_url,
        "RECADO_DATABASE_URL": store_url,
        "RECADO_SECRET_KEY": Fernet.generate_key().decode(),
        "RECADO_PUBLIC_URL": public,
        "RECADO_SIMULATOR_URL": origin,
        "RECADO_DATA_DIR": str(folder),
    }
    simulator = {
        "base_url": origin,
        "webhook_url": f"{public}/webhooks/twilio",
        "account_sid": ACCOUNT_SID,
        "auth_token": TOKEN,
        "max_messages": 500_000,
    }

    def part(role: str, name: str, **more: Any) -> Part:
        return Part(role, name, folder, environment, settings, **more)

    parts = [
        part("simulator", "simulator", port=simulator_port, simulator=simulator),
        part("ingress", "ingress", port=port),
        *(
            part("worker", f"worker{n}", think_s=think_s, clock_s=clocks_s[n % len(clocks_s)])
            for n in range(workers)
        ),
        *(
            part("sender", f"sender{n}", clock_s=clocks_s[n % len(clocks_s)])
            for n in range(senders)
        ),
    ]
    app = AppSettings.model_validate(settings)
    env = EnvironmentSettings(
        redis_url=SecretStr(servers.valkey.url),
        database_url=SecretStr(database_url),
        secret_key=SecretStr(environment["RECADO_SECRET_KEY"]),
    )
    actors = {each.name: Actor(each) for each in parts}
    log = Journal(folder / "campaign.jsonl")
    async with (
        stack,
        open_stores(app, env) as stores,
        httpx2.AsyncClient(base_url=origin, trust_env=False, timeout=60, limits=_LIMITS) as client,
    ):
        for owner, number in (owners or {"campaign": BUSINESS}).items():
            await _store_business(stores, owner, number)
        try:
            for actor in actors.values():
                actor.start()
            await _listening({port: actors["ingress"], simulator_port: actors["simulator"]})
            async with Traffic(simulator=client, random=random) as traffic:
                yield Stage(
                    servers=servers,
                    folder=folder,
                    settings=app,
                    stores=stores,
                    traffic=traffic,
                    simulator=client,
                    orders=Orders(folder / "orders"),
                    random=random,
                    database_url=database_url,
                    port=port,
                    actors=actors,
                    wires=proxies,
                    _log=log,
                )
        finally:
            for actor in actors.values():
                if actor.alive:
                    actor.send(signal.SIGCONT)
                    actor.send(signal.SIGTERM)
            await asyncio.to_thread(_stop_all, list(actors.values()))
            log.close()
            shutil.rmtree(folder / "orders", ignore_errors=True)


_LIMITS = httpx2.Limits(max_connections=100)


def _stop_all(actors: list[Actor]) -> None:
    for actor in actors:
        actor.stop(patience_s=8)


async def _listening(ports: Mapping[int, Actor]) -> None:
    deadline = time.monotonic() + 30
    for port, actor in ports.items():
        while not somebody_listens(port):
            if not actor.alive or time.monotonic() > deadline:
                raise RuntimeError(f"{actor.name} doesn't listen: see its log")
            await asyncio.sleep(0.02)


async def _store_business(stores: Stores, owner: str, number: str) -> None:
    await stores.owners.save(
        Owner.model_validate(
            {
                "id": owner,
                "name": f"{owner} café",
                "plan": Plan(code="campaign"),
                "assistant": {"instructions": "Be brief."},
            }
        )
    )
    await stores.accounts.save(
        TwilioAccount(
            id=f"{owner}-twilio",
            owner_id=owner,
            account_sid=ACCOUNT_SID,
            auth_token=SecretStr(TOKEN),
            phone_numbers=(PhoneNumber(address=number),),
        )
    )
