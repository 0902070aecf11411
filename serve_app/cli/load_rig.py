"""One load run against the product of this machine: owners, traffic, samples, report."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx2

from models.accounts import PhoneNumber, Plan, TwilioAccount
from models.errors import RecadoError
from serve_app.bootstrap import Stores
from serve_app.cli.context import CommandError
from serve_app.cli.load_report import (
    LoadReport,
    ReplicaSample,
    accepted_webhooks,
    make_report,
)
from serve_app.cli.run_state import RunState
from serve_app.cli.serve_api import read_deployments
from serve_app.demo_owner import load_demo_owner
from serve_app.local.secrets import LocalSecrets
from serve_app.ops import instruments as i
from serve_app.ops.exposition import Scrape, scrape
from serve_app.ops.load.arrivals import TrafficPlan
from serve_app.ops.load.ledger import Ledger
from serve_app.ops.load.traffic import Material, Traffic
from serve_app.settings import PROJECT_ROOT
from serve_app.tasks import end_tasks

_TEXTS = (
    "what time do you open on saturday",
    "where are you",
    "how much is a flat white",
    "do you have wifi",
    "are dogs allowed",
    "when do you close on friday",
    "is there parking",
    "can I pay by card",
)
# After these a person has the conversation, or nobody spoke.
_UNANSWERED_NOTES = frozenset({"real-person.ogg", "silence.ogg"})
_SETTLE_S = 30.0
"""How long Ray's metrics may take to tell of the last message: they come every ten seconds."""
_SAMPLE_S = 2.0
_EXPORT_S = 10.5
"""Longer than a process of Ray keeps figures to itself."""


def material() -> Material:
    notes = sorted((PROJECT_ROOT / "demo" / "voice-notes").glob("*.ogg"))
    return Material(
        texts=_TEXTS,
        voice_notes=[
            base64.b64encode(note.read_bytes()).decode()
            for note in notes
            if note.name not in _UNANSWERED_NOTES
        ],
    )


async def store_owners(stores: Stores, secrets: LocalSecrets, count: int) -> list[str]:
    """Owners `load-001`, …, like the demo café but without a quota, each with a number of its own, which
    is returned. Repeating it changes nothing."""
    demo, _ = load_demo_owner()
    numbers: list[str] = []
    for number in range(1, count + 1):
        name, address = f"load-{number:03d}", f"whatsapp:+1556{number:07d}"
        owner = demo.model_copy(
            update={"id": name, "name": f"Load {number}", "plan": Plan(code="load")}
        )
        account = TwilioAccount(
            id=name,
            owner_id=name,
            account_sid=secrets.simulator_account_sid,
            auth_token=secrets.simulator_auth_token,
            phone_numbers=(PhoneNumber(address=address),),
        )
        await stores.accounts.save_all([account], owner=owner)
        numbers.append(address)
    return numbers


@dataclass
class Live:
    """What a screen shows while a run goes on."""

    rate: float
    seconds: float
    ledger: Ledger = field(default_factory=Ledger)
    began: float = field(default_factory=time.monotonic)
    backlog: str = ""
    replicas: list[ReplicaSample] = field(default_factory=list[ReplicaSample])

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self.began


class LoadRig:
    """Runs plans, one after the other, against one product."""

    def __init__(
        self,
        *,
        stores: Stores,
        run: RunState,
        numbers: list[str],
        show: Callable[[Live], None],
    ) -> None:
        """`show` is called about four times a second."""
        self._stores = stores
        self._run = run
        self._numbers = numbers
        self._show = show
        self._material = material()

    async def run(self, plan: TrafficPlan, *, drain_s: float) -> LoadReport:
        if self._run.simulator_url is None:
            raise CommandError("No simulator runs here: start it with `./recado up`.")
        limits = httpx2.Limits(max_connections=300)
        async with httpx2.AsyncClient(
            base_url=self._run.simulator_url, timeout=30.0, trust_env=False, limits=limits
        ) as http:
            before = await self._still(http)
            live = Live(plan.rate, plan.seconds)
            since = datetime.now(UTC)
            traffic = Traffic(
                plan=plan,
                http=http,
                numbers=self._numbers[: plan.owners],
                material=self._material,
                ledger=live.ledger,
            )
            beside = [asyncio.create_task(self._watch(live)), asyncio.create_task(self._draw(live))]
            try:
                await traffic.run(drain_s=drain_s, quiet=self._quiet)
                drained_s = live.elapsed_s
            finally:
                await end_tasks(beside)
            self._show(live)
            sent = live.ledger.sent
            lasted = sent[-1].at - sent[0].at if len(sent) > 1 else plan.seconds
            stored = await self._stores.figures.stages(
                since=since,
                until=datetime.now(UTC),
                owners=[f"load-{n:03d}" for n in range(1, plan.owners + 1)],
            )
            turns = next((each.count for each in stored if each.stage == "answer"), 0)
            ray = await self._settled(http, before, live.ledger, turns=turns) if before else None
            return make_report(
                live.ledger,
                rate=plan.rate,
                seconds=max(lasted, 1.0),
                drained_s=drained_s,
                stored=stored,
                ray=ray,
                replicas=live.replicas,
                behind_s=traffic.behind_s,
                seed=plan.seed,
            )

    async def _still(self, http: httpx2.AsyncClient) -> Scrape | None:
        """Ray's figures once those of earlier messages have arrived, which come up to ten seconds late."""
        deadline = time.monotonic() + _SETTLE_S
        last, since = await self._scrape(http), time.monotonic()
        while last is not None and time.monotonic() < min(deadline, since + _EXPORT_S):
            await asyncio.sleep(1.0)
            now = await self._scrape(http)
            if now is None or _moved(now.since(last)):
                since = time.monotonic()
            last = now or last
        return last

    async def _settled(
        self, http: httpx2.AsyncClient, before: Scrape, ledger: Ledger, *, turns: int
    ) -> Scrape:
        """Ray's figures of this run, once they tell of its last turn and reply."""
        deadline = time.monotonic() + _SETTLE_S
        while True:
            now = await self._scrape(http)
            grown = (now or before).since(before)
            complete = accepted_webhooks(grown) >= len(ledger.acknowledgements)
            complete = complete and grown.count(i.STAGE_SECONDS, stage="answer") >= turns
            complete = complete and grown.total(i.SENDS, outcome="sent") >= ledger.replies
            if complete or time.monotonic() > deadline:
                return grown
            await asyncio.sleep(1.0)

    async def _scrape(self, http: httpx2.AsyncClient) -> Scrape | None:
        try:
            return await scrape(http, f"http://127.0.0.1:{self._run.ports.ray_metrics}/metrics")
        except (httpx2.HTTPError, ValueError):
            return None

    async def _quiet(self) -> bool:
        """Whether nothing waits to be answered or sent. What can't be asked doesn't hold a run up."""
        try:
            backlogs = [
                await queue.backlog() for queue in (self._stores.inbound, self._stores.outbound)
            ]
        except RecadoError:
            return True
        return not any(each.waiting + each.in_flight + each.delayed for each in backlogs)

    async def _watch(self, live: Live) -> None:
        """Backlog and replicas, until cancelled; what can't be read is left out."""
        while True:
            try:
                backlog = await self._stores.inbound.backlog()
                live.backlog = (
                    f"{backlog.waiting} waiting, {backlog.in_flight} in flight, "
                    f"{backlog.delayed} delayed"
                )
                if self._run.dashboard_url is not None:
                    deployments = await read_deployments(self._run.dashboard_url)
                    live.replicas.append(
                        ReplicaSample(
                            at_s=round(live.elapsed_s, 1),
                            running={each.name: each.running for each in deployments},
                        )
                    )
            except Exception as error:
                # The run goes on: its report says what it could find out.
                live.backlog = f"not known: {error}"[:80]
            await asyncio.sleep(_SAMPLE_S)

    async def _draw(self, live: Live) -> None:
        while True:
            self._show(live)
            await asyncio.sleep(0.25)


def _moved(grown: Scrape) -> bool:
    """Whether messages were worked on."""
    sent = grown.total(i.SENDS) + grown.total(i.WEBHOOKS, kind="message")
    return sent + grown.count(i.STAGE_SECONDS) > 0
