"""Rows in which parts of Ray die under the whole product, started as a user starts it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import psutil
import yaml

from serve_app.settings import PROJECT_ROOT
from tests.e2e.product import NUMBER, Product
from tests.faults.campaign import Context, Outcome, Row
from tests.faults.scoring import score, write_history
from tests.faults.traffic import Traffic

QUESTION = "how much is a flat white"


@asynccontextmanager
async def asking(
    context: Context, product: Product, *, contacts: int, over_s: float, first: int
) -> AsyncGenerator[tuple[Traffic, asyncio.Task[None]]]:
    """Contacts who ask one question each while the context lasts."""
    services = json.loads((product.data_dir / "services.json").read_text())
    async with (
        httpx2.AsyncClient(
            base_url=services["simulator_url"], timeout=60, trust_env=False
        ) as simulator,
    ):
        traffic = Traffic(simulator=simulator, random=context.random, question=QUESTION)
        # What others wrote before is none of this row's.
        await traffic.look()
        traffic.answers.clear()
        traffic.answered.clear()
        async with traffic:
            talking = asyncio.create_task(
                traffic.talk(
                    messages=contacts,
                    conversations=contacts,
                    over_s=over_s,
                    first=first,
                    to=NUMBER,
                    patience_s=150,
                )
            )
            yield traffic, talking
            await talking


async def under_load(
    context: Context,
    strike: Callable[[Product], Awaitable[str]],
    *,
    contacts: int,
    over_s: float,
    strikes: int = 1,
    product: Product | None = None,
) -> Outcome:
    """Strikes spread over the time in which contacts ask; on the campaign's product, or a given one."""
    product = product or context.product()
    first = 1_000_000 + context.random.randrange(8_000_000)
    told: list[str] = []
    async with asking(context, product, contacts=contacts, over_s=over_s, first=first) as (
        traffic,
        talking,
    ):
        began = time.monotonic()
        for number in range(strikes):
            at = (number + 1) * over_s / (strikes + 1)
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            told.append(await strike(product))
        await talking
        settled = await traffic.all_answered(seconds=180)
        # Long enough for a lease and a doubtful send's resolution to bring out a duplicate.
        await asyncio.sleep(4)
        await traffic.look()
        ours = [
            a for a in traffic.answers if a.contact in {m.contact for m in traffic.posted.values()}
        ]
        write_history(context.folder, traffic.posted.values(), ours)
        result = score(traffic.posted.values(), ours)
    worst = max(
        (m.accepted_at - s for m in traffic.posted.values() if m.accepted_at for s in [m.begun_at]),
        default=0.0,
    )
    await asyncio.to_thread(product.await_ready)
    outcome = Outcome(
        f"{contacts} contacts over {over_s:g} s; {', '.join(told)}",
        result,
        {"longest until accepted": f"{worst:.1f} s"},
    )
    outcome.must(settled, "some were not answered")
    outcome.must(result.refused == 0, f"{result.refused} were never accepted")
    return outcome


def _kill(process: psutil.Process) -> None:
    process.kill()
    process.wait(10)


async def replicas(context: Context) -> Outcome:
    names = iter(["Worker", "Sender", "Ingress", "ChatModel"] * 5)

    async def strike(product: Product) -> str:
        name = next(names)
        replica = await asyncio.to_thread(product.replica, name)
        await asyncio.to_thread(_kill, replica)
        return f"{name} killed"

    contacts, over_s, strikes = context.size(small=(30, 10.0, 3), full=(400, 120.0, 12))
    return await under_load(context, strike, contacts=contacts, over_s=over_s, strikes=strikes)


async def haproxy(context: Context) -> Outcome:
    async def strike(product: Product) -> str:
        def kill_all() -> int:
            found = [p for p in product.processes() if "haproxy" in p.name()]
            for process in found:
                _kill(process)
            assert found, "no HAProxy"
            return len(found)

        return f"{await asyncio.to_thread(kill_all)} HAProxy processes killed"

    # Serve takes half a minute to replace it: the next strike should find one.
    contacts, over_s, strikes = context.size(small=(20, 6.0, 1), full=(400, 200.0, 3))
    return await under_load(context, strike, contacts=contacts, over_s=over_s, strikes=strikes)


async def controller(context: Context) -> Outcome:
    async def strike(product: Product) -> str:
        def kill() -> None:
            for process in product.processes():
                if "ServeController" in " ".join(process.cmdline()):
                    _kill(process)
                    return
            raise AssertionError("no ServeController")

        await asyncio.to_thread(kill)
        return "the Serve controller killed"

    contacts, over_s, strikes = context.size(small=(20, 8.0, 1), full=(200, 60.0, 2))
    return await under_load(context, strike, contacts=contacts, over_s=over_s, strikes=strikes)


async def rolling_update(context: Context) -> Outcome:
    rounds = iter(range(100))

    async def strike(product: Product) -> str:
        config = yaml.safe_load(product.config.read_text())
        config["applications"][0]["args"].setdefault("conversation", {})["max_steps"] = 3 + next(
            rounds
        )
        changed = context.folder / "changed.yaml"
        changed.write_text(yaml.safe_dump(config))
        await asyncio.to_thread(deploy, product, changed)
        return "`serve deploy` with a changed config"

    contacts, over_s, strikes = context.size(small=(20, 8.0, 1), full=(200, 90.0, 2))
    return await under_load(context, strike, contacts=contacts, over_s=over_s, strikes=strikes)


def deploy(product: Product, config: Path) -> None:
    environment = {
        **product.environment,
        "RAY_AUTH_MODE": os.environ.get("RAY_AUTH_MODE", "token"),
    }
    address = f"http://127.0.0.1:{dashboard_port(product)}"
    done = subprocess.run(
        [str(Path(sys.executable).parent / "serve"), "deploy", str(config), "--address", address],
        cwd=PROJECT_ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dashboard_port(product: Product) -> int:
    return int(json.loads((product.data_dir / "run.json").read_text())["ports"]["dashboard"])


MUST = "0 lost, 0 unexpected, 0 duplicates"

ROWS = (
    Row("ray-replicas", "replicas killed under `recado up`", MUST, replicas, ray=True),
    Row("ray-haproxy", "Ray Serve's HAProxy killed", MUST, haproxy, ray=True),
    Row("ray-controller", "Ray Serve's controller killed", MUST, controller, ray=True),
    Row("ray-update", "a rolling update of the application", MUST, rolling_update, ray=True),
)
