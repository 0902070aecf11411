"""Runs what `recado load` was asked for, shows it live, and prints the report."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace

from rich.live import Live as Screen
from rich.table import Table

from serve_app.bootstrap import open_stores
from serve_app.cli.context import CliContext, CommandError
from serve_app.cli.load_report import LoadReport, print_report
from serve_app.cli.load_rig import Live, LoadRig, store_owners
from serve_app.cli.run_state import RunState, read_run
from serve_app.cli.terminal import console, errors
from serve_app.local.layout import DataDir
from serve_app.local.secrets import read_secrets
from serve_app.ops.load.arrivals import TrafficPlan
from serve_app.ops.load.ledger import Quantiles
from serve_app.ops.load.search import Search


def run_load(
    context: CliContext,
    plan: TrafficPlan,
    *,
    drain_s: float,
    p95_s: float | None,
    as_json: bool,
) -> bool:
    """With `p95_s` the highest rate is looked for. True if everything was answered, or a rate held."""
    where = DataDir.at(context.environment.data_dir)
    run, secrets = read_run(where), read_secrets(where)
    if run is None or not run.process.alive() or run.simulator_url is None or secrets is None:
        raise CommandError("No product with a simulator runs here: start it with `./recado up`.")

    async def work(show: Callable[[Live], None]) -> tuple[list[LoadReport], float | None]:
        async with open_stores(context.settings, context.environment) as stores:
            numbers = await store_owners(stores, secrets, plan.owners)
            rig = LoadRig(stores=stores, run=run, numbers=numbers, show=show)
            if p95_s is None:
                return [await rig.run(plan, drain_s=drain_s)], None
            return await find_highest(
                plan, p95_s=p95_s, run_at=lambda step: rig.run(step, drain_s=drain_s)
            )

    where_to = errors if as_json else console
    with Screen(console=where_to, transient=True, auto_refresh=False) as screen:
        reports, best = asyncio.run(
            work(lambda live: screen.update(progress_screen(live, run), refresh=True))
        )
    if as_json:
        _print_json(reports, best, find_max=p95_s is not None)
    else:
        for report in reports:
            print_report(report, console)
    if p95_s is None:
        return not reports[-1].errors and not reports[-1].unanswered
    if not as_json:
        found = f"{best:g} messages/s" if best else "No rate that was tried"
        console.print(f"[bold]{found}[/] kept a p95 of {p95_s:g} s to the reply.")
    return best is not None


async def find_highest(
    plan: TrafficPlan, *, p95_s: float, run_at: Callable[[TrafficPlan], Awaitable[LoadReport]]
) -> tuple[list[LoadReport], float | None]:
    """Every run's report, and the highest rate at which `p95_s` held; None if none did."""
    search = Search(start=plan.rate)
    reports: list[LoadReport] = []
    while (rate := search.next_rate) is not None:
        # A seed of its own: the same people again would still be waiting for their last replies.
        step = replace(plan, rate=rate, seed=plan.seed + len(reports))
        report = await run_at(step)
        reports.append(report)
        search.note(rate, held=report.holds(p95_s))
    return reports, search.best


def progress_screen(live: Live, run: RunState) -> Table:
    """How a run goes on, a few times a second."""
    ledger = live.ledger
    elapsed = max(live.elapsed_s, 0.001)
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    progress = min(1.0, live.elapsed_s / live.seconds)
    bar = "━" * round(progress * 30) + "╌" * (30 - round(progress * 30))
    table.add_row(
        f"{live.rate:g}/s", f"[cyan]{bar}[/] {live.elapsed_s:.0f} of {live.seconds:.0f} s"
    )
    table.add_row("sent", f"{len(ledger.sent):,} ({len(ledger.sent) / elapsed:,.1f}/s)")
    answered = len(ledger.sent) - ledger.open
    table.add_row("answered", f"{answered:,}, {ledger.open:,} wait")
    for name, values in (
        ("acknowledging", ledger.acknowledgements),
        ("to the reply", ledger.waits),
    ):
        found = Quantiles.of(values[-5_000:])
        table.add_row(name, f"p50 {found.p50 * 1000:,.0f} ms, p95 {found.p95 * 1000:,.0f} ms")
    table.add_row("inbound queue", live.backlog)
    if live.replicas:
        running = live.replicas[-1].running
        table.add_row("replicas", ", ".join(f"{k} {v}" for k, v in sorted(running.items())))
    if ledger.errors:
        table.add_row("[red]errors[/]", ", ".join(f"{k}: {v}" for k, v in ledger.errors.items()))
    table.add_row("Ray dashboard", run.dashboard_url or "")
    return table


def _print_json(reports: list[LoadReport], best: float | None, *, find_max: bool) -> None:
    if find_max:
        steps = [report.model_dump(mode="json") for report in reports]
        print(json.dumps({"highest_rate": best, "steps": steps}, indent=2))
    else:
        print(reports[-1].model_dump_json(indent=2))
