"""`recado load`: the search for the highest rate, what it ends with, and the screen meanwhile."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

from serve_app.cli import load_run
from serve_app.cli.app import app
from serve_app.cli.load_report import Latency, LoadReport, ReplicaSample
from serve_app.cli.load_rig import Live
from serve_app.cli.load_run import find_highest, progress_screen
from serve_app.cli.run_state import Ports, RunState
from serve_app.local.processes import ProcessRef
from serve_app.ops.load.arrivals import Curve, TrafficPlan

PLAN = TrafficPlan(rate=4.0, seconds=20.0, seed=7)


def report(plan: TrafficPlan, *, p95: float, **changes: object) -> LoadReport:
    nothing = Latency(count=0, p50=0, p95=0, p99=0)
    fields: dict[str, object] = {
        **dict.fromkeys(LoadReport.model_fields, 0),
        **{"stages": [], "replicas": [], "agreement": [], "errors": {}},
        "acknowledging": nothing,
        "reply": Latency(count=9, p50=p95 / 2, p95=p95, p99=p95),
        **{"rate": plan.rate, "seed": plan.seed, "sent": 9, "answered": 9},
    }
    return LoadReport.model_validate({**fields, **changes})


class House:
    """Bears `limit` messages a second; above it the replies come late, or with `fails` not at all."""

    def __init__(self, limit: float, **fails: object) -> None:
        self.limit = limit
        self.fails = fails
        self.plans: list[TrafficPlan] = []

    async def run_at(self, plan: TrafficPlan) -> LoadReport:
        self.plans.append(plan)
        if plan.rate <= self.limit:
            return report(plan, p95=4.0)
        return report(plan, p95=1.0, **self.fails) if self.fails else report(plan, p95=5.1)


async def test_the_highest_rate_that_kept_the_p95() -> None:
    house = House(11.0)
    reports, best = await find_highest(PLAN, p95_s=5.0, run_at=house.run_at)
    assert [each.rate for each in reports] == [plan.rate for plan in house.plans]
    assert [each.rate for each in reports][:3] == [4.0, 8.0, 16.0]
    assert best is not None
    assert best <= 11.0 < best * 1.15
    assert best == max(each.rate for each in reports if each.holds(5.0))


async def test_each_step_is_written_by_other_people_and_is_otherwise_the_same() -> None:
    house = House(11.0)
    await find_highest(PLAN, p95_s=5.0, run_at=house.run_at)
    seeds = [plan.seed for plan in house.plans]
    assert seeds == list(range(7, 7 + len(seeds)))
    assert {(plan.seconds, plan.curve) for plan in house.plans} == {(20.0, Curve.STEADY)}


@pytest.mark.parametrize(
    "fails",
    [{"unanswered": 1}, {"errors": {"webhook answered 503": 2}}, {"behind_s": 1.5}, {"sent": 0}],
)
async def test_a_quick_run_that_lost_something_holds_nothing(fails: dict[str, object]) -> None:
    _, best = await find_highest(PLAN, p95_s=5.0, run_at=House(0.0, **fails).run_at)
    assert best is None


@pytest.mark.parametrize(("well", "status"), [(True, 0), (False, 1)])
def test_the_exit_status_says_whether_a_rate_held(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, well: bool, status: int
) -> None:
    asked: list[dict[str, Any]] = []

    def run_load(context: object, plan: TrafficPlan, **options: Any) -> bool:
        asked.append({"plan": plan, **options})
        return well

    monkeypatch.setattr(load_run, "run_load", run_load)
    for name in ("REDIS_URL", "DATABASE_URL", "SECRET_KEY"):
        monkeypatch.setenv(f"RECADO_{name}", "redis://127.0.0.1:9")
    options = [
        "load",
        "--find-max",
        "--p95",
        "2.5",
        "--curve",
        "spike",
        "--data-dir",
        str(tmp_path),
    ]
    assert CliRunner().invoke(app, options).exit_code == status
    assert asked[0]["p95_s"] == 2.5
    # A rate can only be said to hold where it doesn't move.
    assert asked[0]["plan"].curve is Curve.STEADY
    CliRunner().invoke(app, ["load", "--data-dir", str(tmp_path)])
    assert asked[1]["p95_s"] is None


def test_the_screen_shows_how_the_run_goes_on() -> None:
    live = Live(rate=4.0, seconds=20.0)
    live.began -= 5.0
    ledger = live.ledger
    for number in range(3):
        sent = ledger.send(f"person-{number}", at=100.0, voice=False)
        ledger.acknowledged(sent, status=200, seconds=0.012)
    ledger.replied("person-0", at=101.5)
    ledger.acknowledged(ledger.send("late", at=101.0, voice=True), status=503, seconds=0.1)
    live.backlog = "2 waiting, 0 in flight, 1 delayed"
    live.replicas.append(ReplicaSample(at_s=4.0, running={"Worker": 2, "Ingress": 1}))
    run = RunState(
        state="ready",
        process=ProcessRef.own(),
        session=1,
        config="config.yaml",
        detached=True,
        host="127.0.0.1",
        ports=Ports.model_validate(dict.fromkeys(Ports.model_fields, 8000)),
        public_url="http://127.0.0.1:8000",
        dashboard_url="http://127.0.0.1:8265",
    )
    shown = io.StringIO()
    Console(file=shown, width=120).print(progress_screen(live, run))
    text = shown.getvalue()
    assert "5 of 20 s" in text
    assert "4 (0.8/s)" in text
    assert "2 wait" in text
    assert "p50 12 ms" in text
    assert "p50 1,500 ms, p95 1,500 ms" in text
    assert "2 waiting, 0 in flight, 1 delayed" in text
    assert "Ingress 1, Worker 2" in text
    assert "webhook answered 503: 1" in text
    assert "http://127.0.0.1:8265" in text
