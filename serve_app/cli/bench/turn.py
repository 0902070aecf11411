"""Whole turns with instant models: queue, Postgres, agent loop, tool call, sending, simulated Twilio."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from statistics import median

import httpx2
import psutil

from models.errors import RecadoError
from models.jobs import NewJob
from models.messages import InboundMessage
from serve_app.bootstrap import Stores, open_stores, prepare, read_environment
from serve_app.cli.bench.machine import describe_machine
from serve_app.cli.bench.rounds import load_average
from serve_app.cli.bench.stores import own_environment
from serve_app.demo_owner import load_demo_owner
from serve_app.local.layout import DataDir
from serve_app.local.secrets import ensure_secrets
from serve_app.local.services import ensure_services, release_services
from serve_app.settings import AppSettings, EnvironmentSettings

TIMEOUT_S = 300.0
LONGEST_LOOK_S = 1.0
ROLES: tuple[str, ...] = ("publisher", "worker", "sender", "simulator", "valkey", "postgres")


def settings() -> AppSettings:
    """As shipped, without the wait for a burst's end: here every turn is one message."""
    defaults = AppSettings()
    return defaults.model_copy(
        update={
            "conversation": defaults.conversation.model_copy(
                update={"debounce_s": 0.0, "typing_indicator": False}
            ),
            # What is measured is the service, not the rate that WhatsApp allows a sender.
            "sender": defaults.sender.model_copy(
                update={"whatsapp_per_second": 100_000.0, "recipient_burst": 1_000_000}
            ),
            "log": defaults.log.model_copy(update={"level": "warning"}),
        }
    )


def run(*, turns: int, rounds: int) -> dict[str, object]:
    """Turns per second with one and with two worker processes, from the first publish until the
    simulator has the last reply, and per second of CPU that all processes spent on it. Delivery reports
    aren't part of it.

    Whether more cores bring as many more turns is read from the CPU seconds: a second worker must not make
    a turn dearer. By the clock, two workers gain only where there are cores to spare for them."""
    with own_environment() as env:
        ensure_services(env, while_pid=os.getpid(), simulator=True)
        rates: dict[str, list[float]] = {"1 worker process": [], "2 worker processes": []}
        per_core: dict[str, list[float]] = {name: [] for name in rates}
        costs: list[dict[str, float]] = []
        try:
            asyncio.run(prepare(settings()))
            for _ in range(rounds):
                for workers, name in enumerate(rates, 1):
                    seconds, spent = _round(workers, turns)
                    rates[name].append(turns / seconds)
                    per_core[name].append(turns / sum(spent.values()))
                    costs.append(spent)
        finally:
            release_services(env, while_pid=os.getpid())
    one, two = rates.values()
    one_cpu, two_cpu = per_core.values()
    return {
        "machine": {
            **describe_machine("asyncpg", "redis", "twilio"),
            "load average": load_average(),
        },
        "turns_each": turns,
        "turns_per_s": rates,
        "turns_per_cpu_second (target 100 or more)": per_core,
        "cpu_ms_per_turn": {
            role: [1000 * spent[role] / turns for spent in costs] for role in costs[0]
        },
        "ratios": {
            "turns per CPU second, two worker processes against one": _ratio(one_cpu, two_cpu),
            "two worker processes against one": _ratio(one, two),
        },
    }


def _ratio(one: list[float], two: list[float]) -> float:
    return round(median(b / a for a, b in zip(one, two, strict=True)), 3)


def _round(workers: int, turns: int) -> tuple[float, dict[str, float]]:
    """Seconds for all turns, and the CPU seconds they cost by role."""
    with ExitStack() as stack:
        for role in ["worker"] * workers + ["sender"]:
            stack.enter_context(_process(role))
        asyncio.run(_turns(20))
        before = _cpu_seconds()
        seconds = asyncio.run(_turns(turns))
        return seconds, {role: spent - before[role] for role, spent in _cpu_seconds().items()}


async def _turns(count: int) -> float:
    env = read_environment(settings())
    async with open_stores(settings(), env) as stores:
        return await send_turns(stores, env, count, timeout_s=TIMEOUT_S)


async def send_turns(
    stores: Stores, env: EnvironmentSettings, count: int, *, timeout_s: float
) -> float:
    """Seconds from the first publish until the simulator has all replies. Raises `RecadoError` if that
    takes longer than `timeout_s`."""
    account = ensure_secrets(DataDir.at(env.data_dir)).simulator_account_sid
    number = load_demo_owner()[1][0].address
    async with httpx2.AsyncClient(
        base_url=env.simulator_url or "", timeout=20.0, trust_env=False
    ) as client:
        (await client.post("/simulator/reset")).raise_for_status()
        # Reports would be posted to where the product listens, which doesn't run or is somebody else's.
        faults = await client.put("/simulator/faults", json={"lost_callbacks": 1.0})
        faults.raise_for_status()
        started = time.perf_counter()
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            gate = asyncio.Semaphore(64)

            async def publish(index: int) -> None:
                async with gate:
                    await stores.inbound.publish(_job(account, number, index))

            for index in range(count):
                group.create_task(publish(index))
        while (replies := await _accepted(client)) < count:
            if time.perf_counter() - started > timeout_s:
                raise RecadoError(f"{replies} of {count} replies in {timeout_s:g} s")
            await asyncio.sleep(_next_look_s(count, replies, time.perf_counter() - started))
        return time.perf_counter() - started


def _next_look_s(count: int, replies: int, seconds: float) -> float:
    """Until half of what is left should be there: looking costs CPU time that would be taken for the
    turns', and the last look should still come right behind the last reply."""
    if not replies:
        return LONGEST_LOOK_S / 4
    return min(LONGEST_LOOK_S, max(0.02, (count - replies) * seconds / replies / 2))


async def _accepted(client: httpx2.AsyncClient) -> int:
    stats = json.loads((await client.get("/simulator/stats")).text)
    return int(stats.get("accepted", 0))


def _job(account: str, number: str, index: int) -> NewJob:
    contact = f"whatsapp:+1555{index:07d}"
    message = InboundMessage(
        channel="twilio",
        account_id=account,
        message_id="SM" + secrets.token_hex(16),
        sender=contact,
        recipient=number,
        contact_key=contact,
        body="what time do you open on saturday?",
        received_at=datetime.now(UTC),
    )
    return NewJob(
        id=message.job_id,
        conversation=message.conversation_key,
        payload=message.model_dump_json(),
    )


@contextmanager
def _process(role: str) -> Generator[None]:
    process = subprocess.Popen(  # noqa: S603 -- our own module
        [sys.executable, "-m", "serve_app.cli.bench.turn_process", role],
        stdin=subprocess.PIPE,
    )
    try:
        yield
    finally:
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _cpu_seconds() -> dict[str, float]:
    """CPU time by role: this process, its children, and the local services with theirs."""
    spent: dict[str, float] = dict.fromkeys(ROLES, 0.0)
    for process in psutil.process_iter(["cmdline", "cpu_times", "name"]):
        times = process.info["cpu_times"]
        role = _role(process, process.info["name"], " ".join(process.info["cmdline"] or ()))
        if role is not None and times is not None:
            spent[role] += times.user + times.system
    return spent


def _role(process: psutil.Process, name: str, line: str) -> str | None:
    if process.pid == os.getpid():
        return "publisher"
    if "bench.turn_process" in line:
        # Another benchmark may run on this machine.
        return line.rsplit(" ", 1)[-1] if process.ppid() == os.getpid() else None
    folder = os.environ["RECADO_DATA_DIR"]
    if name == "postgres":
        # Its title hides the arguments; other Postgres servers of this machine aren't ours.
        return "postgres" if _working_folder(process).startswith(folder) else None
    if folder not in line and _data_dir(process) != folder:
        return None
    if "valkey" in name:
        return "valkey"
    return "simulator" if "serve_app.simulator" in line else None


def _working_folder(process: psutil.Process) -> str:
    try:
        return process.cwd()
    except psutil.Error:
        return ""


def _data_dir(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("RECADO_DATA_DIR")
    except psutil.Error:
        return None
