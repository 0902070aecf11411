"""What open console pages cost the whole service: CPU time of all its processes, stores and proxy too."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import httpx2
import psutil
import pytest

from serve_app.tasks import end_tasks
from tests.e2e.product import Product, await_replies, write

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

LIMIT = 0.02
"""Of a core, for one page that is open."""
SECONDS = 3.0
"""Of one measurement. CPU time hardly depends on what else the machine does, and many pages at once lift
the signal over what the service does by itself."""
SETTLE_S = 1.0
FEW, MANY = 5, 20
PHONE = "whatsapp:+15558000021"


@dataclass(frozen=True)
class Live:
    """What a page asks for by itself, and how often."""

    path: str
    every_s: float


@dataclass
class Cost:
    """Seconds of CPU a second: shares of a core."""

    of_all: float
    by_process: dict[str, float] = field(default_factory=dict[str, float])


def test_a_page_that_updates_itself_takes_less_than_two_percent_of_a_core(product: Product) -> None:
    with product.simulator as client:
        write(client, PHONE, "what time do you open on saturday")
        await_replies(client, PHONE)
    token = product.recado("console", "token").stdout.strip()
    asyncio.run(_measure(product, token))


async def _measure(product: Product, token: str) -> None:
    async with httpx2.AsyncClient(base_url=product.url, trust_env=False, timeout=20) as http:
        origin = {"Origin": product.url}
        answer = await http.post("/console/sign-in", data={"secret": token}, headers=origin)
        assert answer.status_code == 303, answer.text
        listed = await http.get("/console/conversations?q=%2B15558000021")
        conversation = re.search(r'"(/console/conversations/[^"?]+)"', listed.text)
        assert conversation is not None
        now = await _live(http, "/console/now?window=live")
        day = await _live(http, "/console/now?window=day")
        thread = await _live(http, conversation[1])
        wanted = ((now, 0), (now, FEW), (now, MANY), (thread, MANY), (day, MANY))
        idle, few, many, thread_cost, day_cost = [
            await _cost(product, http, live, pages) for live, pages in wanted
        ]
    further = (many.of_all - few.of_all) / (MANY - FEW)
    # What the first one causes is shown, not judged: by itself it is less than what the service does
    # meanwhile differs by. Shared by a few it is a part of what each of them may cost.
    first = few.of_all - idle.of_all - (FEW - 1) * further
    costs = {
        f"each of {FEW} live pages": (few.of_all - idle.of_all) / FEW,
        f"each of {MANY} live pages": (many.of_all - idle.of_all) / MANY,
        f"each of {MANY} conversations": (thread_cost.of_all - idle.of_all) / MANY,
        f"each of {MANY} pages of the last day": (day_cost.of_all - idle.of_all) / MANY,
    }
    shown = "\n".join(
        (
            *(f"{name}: {cost:.2%} of a core" for name, cost in costs.items()),
            f"nothing open: {idle.of_all:.2%}, the first live page {first:.2%}, a further {further:.2%}",
            f"{MANY} live pages, by process: {_growth(many, idle)}",
            f"{MANY} conversations, by process: {_growth(thread_cost, idle)}",
        )
    )
    print(shown)
    assert max(costs.values()) < LIMIT, shown


async def _live(http: httpx2.AsyncClient, page: str) -> Live:
    """As the page's own markup says."""
    text = (await http.get(page)).raise_for_status().text
    found = re.search(r'hx-get="([^"]+)" hx-trigger="every ([\d.]+)s"', text)
    assert found is not None, page
    return Live(found[1].replace("&amp;", "&"), float(found[2]))


async def _cost(product: Product, http: httpx2.AsyncClient, live: Live, pages: int) -> Cost:
    """With so many pages open, each asking at its own moment."""
    async with AsyncExitStack() as stack:
        tasks = [
            asyncio.create_task(_open_page(http, live, phase_s=live.every_s * n / pages))
            for n in range(pages)
        ]
        stack.push_async_callback(end_tasks, tasks)
        await asyncio.sleep(SETTLE_S)
        before, began = await asyncio.to_thread(_spent, product), asyncio.get_running_loop().time()
        await asyncio.sleep(SECONDS)
        after, ended = await asyncio.to_thread(_spent, product), asyncio.get_running_loop().time()
        failed = [task for task in tasks if task.done()]
        assert not failed, failed[0].exception()
    by_process: dict[str, float] = defaultdict(float)
    for process, (name, spent_s) in after.items():
        by_process[name] += (spent_s - before.get(process, (name, 0.0))[1]) / (ended - began)
    return Cost(sum(by_process.values()), by_process)


async def _open_page(http: httpx2.AsyncClient, live: Live, *, phase_s: float) -> None:
    await asyncio.sleep(phase_s)
    while True:
        (await http.get(live.path)).raise_for_status()
        await asyncio.sleep(live.every_s)


def _spent(product: Product) -> dict[tuple[int, float], tuple[str, float]]:
    """Name and CPU seconds by id and start of each process of the installation. Postgres' own processes
    hide their environment behind their titles: they are found as children."""
    found: dict[tuple[int, float], tuple[str, float]] = {}
    roots = [process for process in product.processes() if process.pid != os.getpid()]
    for root in roots:
        try:
            for process in (root, *root.children(recursive=True)):
                times = process.cpu_times()
                key = process.pid, process.create_time()
                found[key] = _name(process), times.user + times.system
        except psutil.NoSuchProcess:
            continue
    return found


def _name(process: psutil.Process) -> str:
    """Ray's processes change their titles with what they do: `ray::ServeController.get_config`."""
    words = process.cmdline() or [process.name()]
    if words[0].startswith("ray::"):
        return words[0].split()[0].split(".")[0]
    if "postgres" in words[0]:
        return "postgres"
    return " ".join(word.rsplit("/", maxsplit=1)[-1][:30] for word in words[:3])


def _growth(cost: Cost, idle: Cost) -> str:
    grown = {
        name: value - idle.by_process.get(name, 0.0) for name, value in cost.by_process.items()
    }
    return ", ".join(
        f"{name} {value:.2%}"
        for name, value in sorted(grown.items(), key=lambda item: -item[1])
        if abs(value) >= 0.002
    )
