"""A burst on a product of its own: how many replicas Serve reports while it is answered and afterwards, and
what the first message costs after everything went to zero."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import httpx2
import yaml

from models.errors import RecadoError
from serve_app.bootstrap import open_stores, read_environment
from serve_app.cli.bench.machine import describe_machine, free_port_block
from serve_app.cli.bench.plot import Panel, write_svg
from serve_app.cli.bench.replica_history import Look, ReplicaHistory
from serve_app.cli.bench.rounds import load_average
from serve_app.cli.bench.stores import own_environment
from serve_app.cli.load_rig import material, store_owners
from serve_app.cli.run_state import RunState, read_run
from serve_app.cli.serve_api import authorization, read_deployments
from serve_app.local.layout import DataDir
from serve_app.local.secrets import ensure_secrets
from serve_app.ops.load.arrivals import TrafficPlan
from serve_app.ops.load.ledger import Ledger, Quantiles
from serve_app.ops.load.traffic import Traffic
from serve_app.settings import PROJECT_ROOT, AppSettings
from serve_app.tasks import end_tasks

REST = {"Worker": 1, "ChatModel": 0, "Transcriber": 0}
"""Replicas when nobody writes; models go to zero here, which `config.yaml` leaves at one."""
LOOK_EVERY_S = 0.5
SENT_WITHIN_S = 2.0
FIRST_REPLY_LIMIT_S = 90.0
UP_LIMIT_S, DOWN_LIMIT_S, STATUS_LIMIT_S = 240.0, 150.0, 60.0
CHANGED: dict[str, Any] = {
    "Worker": {"num_cpus": 0.1},
    # A small machine's burst has to reach the thresholds, and its two cores to hold the replicas.
    "ChatModel": {"cpus": 0.2, "target_ongoing_requests": 4},
    "Transcriber": {"cpus": 0.1, "target_ongoing_requests": 2},
}


@dataclass(frozen=True, slots=True)
class ScalePlan:
    """Messages of the burst, the share of voice notes among them, the limits of scaling, and how many
    seconds each phase may take."""

    messages: int
    voice_share: float
    max_replicas: int
    downscale_delay_s: float
    to_zero_delay_s: float
    limit_s: float


@dataclass(slots=True)
class Course:
    """What was seen."""

    history: ReplicaHistory
    ledger: Ledger
    last_reply_s: float
    statuses: dict[str, object]
    first_replies_s: dict[str, float | None]
    problems: list[str]


def run(plan: ScalePlan, *, plot: Path | None) -> dict[str, object]:
    """`config.yaml` as shipped, but for what the report's `changed` names."""
    with own_environment() as env:
        config = _write_config(env.data_dir, plan)
        # The data directory's own: the file would be gone with it all the same.
        where = DataDir.at(env.data_dir)
        try:
            _recado("up", "--detach", "--config", str(config), limit_s=UP_LIMIT_S)
            state = read_run(where)
            if state is None:
                raise RecadoError("the product is up, but run.json is gone: was it stopped?")
            course = asyncio.run(_course(plan, state, where))
        finally:
            _recado("down", limit_s=DOWN_LIMIT_S)
    machine = {**describe_machine("ray"), "load average": load_average()}
    if plot is not None:
        panels = [
            Panel(
                name, "seconds since the burst", "replicas", course.history.lines(name), dots=False
            )
            for name in REST
        ]
        write_svg(plot, panels, note=", ".join(f"{k} {v}" for k, v in machine.items()))
    ledger = course.ledger
    waits = Quantiles.of(ledger.waits)
    return {
        "machine": machine,
        "changed": _changed(plan),
        "burst": {
            "messages": len(ledger.sent),
            "voice_notes": sum(message.voice for message in ledger.sent),
            "answered": len(ledger.sent) - ledger.open - sum(ledger.errors.values()),
            "last_reply_after_s": round(course.last_reply_s, 1),
            "reply_p50_s": round(waits.p50, 2),
            "reply_p95_s": round(waits.p95, 2),
            "errors": dict(ledger.errors),
        },
        "replicas": course.history.summary(since_s=course.last_reply_s),
        "replicas_over_time": course.history.changes(),
        "serve_status": course.statuses,
        "first_reply_s": course.first_replies_s,
        "problems": course.problems,
    }


def _changed(plan: ScalePlan) -> dict[str, object]:
    return {
        "conversation.debounce_s": 0.0,
        "max_replicas": plan.max_replicas,
        "downscale_delay_s": plan.downscale_delay_s,
        "min_replicas of ChatModel and Transcriber": 0,
        "downscale_to_zero_delay_s": plan.to_zero_delay_s,
        **{name: dict(changes) for name, changes in CHANGED.items()},
    }


def _write_config(folder: Path, plan: ScalePlan) -> Path:
    config = yaml.safe_load((PROJECT_ROOT / "config.yaml").read_text())
    config["http_options"]["port"] = free_port_block()
    application = config["applications"][0]
    args = application["args"]
    args["conversation"]["debounce_s"] = 0.0
    args["speech"]["cpus"] = CHANGED["Transcriber"]["cpus"]
    args["chat"]["cpus"] = CHANGED["ChatModel"]["cpus"]
    for deployment in application["deployments"]:
        name = deployment["name"]
        if name not in REST:
            continue
        scaling = deployment["autoscaling_config"]
        scaling |= {"max_replicas": plan.max_replicas, "downscale_delay_s": plan.downscale_delay_s}
        if name == "Worker":
            deployment["ray_actor_options"]["num_cpus"] = CHANGED[name]["num_cpus"]
            continue
        scaling |= {
            "min_replicas": 0,
            "initial_replicas": 1,
            "downscale_to_zero_delay_s": plan.to_zero_delay_s,
            "target_ongoing_requests": CHANGED[name]["target_ongoing_requests"],
        }
    path = folder / "bench-scale.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


async def _course(plan: ScalePlan, run: RunState, where: DataDir) -> Course:
    """The burst, the way down, and single messages from zero."""
    if run.simulator_url is None or run.dashboard_url is None:
        raise RecadoError("the product runs without its simulator or Ray's dashboard")
    settings = AppSettings()
    async with open_stores(settings, read_environment(settings)) as stores:
        numbers = await store_owners(stores, ensure_secrets(where), 1)
    return await _Observation(plan, run.simulator_url, numbers, run.dashboard_url).run()


class _Observation:
    def __init__(
        self, plan: ScalePlan, simulator_url: str, numbers: list[str], dashboard_url: str
    ) -> None:
        self._plan = plan
        self._simulator_url = simulator_url
        self._numbers = numbers
        self._dashboard_url = dashboard_url
        self._began = time.monotonic()
        self._history = ReplicaHistory(tuple(REST))
        self._problems: list[str] = []

    async def run(self) -> Course:
        plan = self._plan
        burst = TrafficPlan(
            rate=plan.messages / SENT_WITHIN_S,
            seconds=60.0,
            voice_share=plan.voice_share,
            burst=1.0,
            owners=1,
            people=plan.messages,
            max_messages=plan.messages,
        )
        self._began = time.monotonic()
        watching = asyncio.create_task(self._watch())
        statuses: dict[str, object] = {}
        first: dict[str, float | None] = {}
        try:
            peak = asyncio.create_task(self._status_at_peak())
            ledger = await self._send(burst, drain_s=plan.limit_s)
            last_reply_s = self._elapsed()
            if ledger.open or ledger.errors:
                self._problems.append(
                    f"{ledger.open} messages without a reply, errors: {dict(ledger.errors)}"
                )
            for name in REST:
                if self._history.most(name) < 2:
                    self._problems.append(f"{name} did not scale up in this burst")
            statuses["at the peak"] = await peak
            await self._until_rest()
            statuses["at rest"] = await serve_status(self._dashboard_url)
            # One after the other: the first finds both models gone, the second only speech.
            single = replace(burst, max_messages=1, people=1, voice_share=0.0)
            for seed, (what, voice) in enumerate(
                (
                    ("text, ChatModel from zero", 0.0),
                    ("voice note, Transcriber from zero", 1.0),
                    ("text, warm", 0.0),
                    ("voice note, warm", 1.0),
                ),
                start=2,
            ):
                alone = replace(single, seed=seed, voice_share=voice, rate=100.0)
                answered = await self._send(alone, drain_s=FIRST_REPLY_LIMIT_S)
                first[what] = round(answered.waits[0], 2) if answered.waits else None
                if not answered.waits:
                    errors = ", ".join(answered.errors) or "the service gave none"
                    self._problems.append(
                        f"{what}: no reply within {FIRST_REPLY_LIMIT_S:g} s; errors: {errors}"
                    )
        finally:
            await end_tasks([watching])
        return Course(self._history, ledger, last_reply_s, statuses, first, self._problems)

    async def _send(self, plan: TrafficPlan, *, drain_s: float) -> Ledger:
        ledger = Ledger()
        limits = httpx2.Limits(max_connections=300)
        async with httpx2.AsyncClient(
            base_url=self._simulator_url, timeout=60.0, trust_env=False, limits=limits
        ) as http:
            traffic = Traffic(
                plan=plan, http=http, numbers=self._numbers, material=material(), ledger=ledger
            )
            await traffic.run(drain_s=drain_s)
        return ledger

    async def _watch(self) -> None:
        """Until cancelled; a look that fails is left out."""
        while True:
            try:
                states = await read_deployments(self._dashboard_url)
            except (httpx2.HTTPError, ValueError) as error:
                self._problems.append(f"no look at {self._elapsed():.0f} s: {error!r}"[:120])
            else:
                self._history.looks.append(Look.of(self._elapsed(), states, tuple(REST)))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _status_at_peak(self) -> object:
        """Once every deployment has more than one replica, or the messages run out of patience."""
        deadline = self._began + min(self._plan.limit_s, 45.0)
        while time.monotonic() < deadline:
            if all(self._history.most(name) > 1 for name in REST):
                break
            await asyncio.sleep(LOOK_EVERY_S)
        return await serve_status(self._dashboard_url)

    async def _until_rest(self) -> None:
        deadline = time.monotonic() + self._plan.limit_s
        while not self._history.at_rest(REST):
            if time.monotonic() > deadline:
                last = self._history.looks[-1].running if self._history.looks else "nothing seen"
                self._problems.append(f"not down again after {self._plan.limit_s:g} s: {last}")
                return
            await asyncio.sleep(LOOK_EVERY_S)

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


async def serve_status(dashboard_url: str) -> object:
    """What `serve status` prints, shortened to a line a deployment; a line that says so if it fails."""
    token = authorization().get("Authorization", "").removeprefix("Bearer ")
    process = await asyncio.create_subprocess_exec(
        str(Path(sys.executable).parent / "serve"),
        *("status", "--address", dashboard_url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token},
    )
    try:
        async with asyncio.timeout(STATUS_LIMIT_S):
            out, err = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"serve status gave no answer within {STATUS_LIMIT_S:g} s"
    if process.returncode != 0:
        return f"serve status failed: {err.decode(errors='replace')[-300:].strip()}"
    return shorten_status(out.decode())


def shorten_status(text: str) -> dict[str, str]:
    """`{"application": "RUNNING", "Worker": "HEALTHY, 3 RUNNING", …}`."""
    document = cast("dict[str, Any]", yaml.safe_load(text))
    told: dict[str, str] = {}
    for application in document["applications"].values():
        told["application"] = str(application["status"])
        for name, deployment in application["deployments"].items():
            states = [f"{count} {state}" for state, count in deployment["replica_states"].items()]
            told[name] = ", ".join([str(deployment["status"]), *states])
    return told


def _recado(*command: str, limit_s: float) -> None:
    done = subprocess.run(  # noqa: S603 -- our own command
        [sys.executable, "-m", "serve_app.cli", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=limit_s,
        cwd=PROJECT_ROOT,
    )
    if done.returncode != 0:
        raise RecadoError(
            f"recado {command[0]} failed: {(done.stdout + done.stderr)[-800:].strip()}"
        )
