"""`recado status`: one screen of what runs here, whether it is well, and what to do if not."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from serve_app.cli.run_state import RunState, read_run
from serve_app.cli.terminal import console
from serve_app.local.layout import DataDir
from serve_app.local.state import ServicesState, read_state
from serve_app.settings import EnvironmentSettings

if TYPE_CHECKING:
    from serve_app.cli.health import Health


def status(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    data_dir: Annotated[Path | None, typer.Option(help="As given to `up`.")] = None,
) -> None:
    """Show what runs and whether it is healthy; exit status 1 if not."""
    if data_dir is not None:
        os.environ["RECADO_DATA_DIR"] = str(data_dir.expanduser().resolve())
    where = DataDir.at(EnvironmentSettings().data_dir)
    run = read_run(where)
    if run is not None and not run.process.alive():
        run = None
    health = None
    if run is not None:
        from serve_app.cli.health import look

        health = asyncio.run(look(run, where))
    if as_json:
        print(json.dumps(_document(run, health), indent=2))
    else:
        _show(where, run, health)
    if health is None or not health.healthy:
        raise typer.Exit(1)


def _document(run: RunState | None, health: Health | None) -> dict[str, object]:
    if run is None or health is None:
        return {"running": False, "healthy": False}
    return {
        "running": True,
        "healthy": health.healthy,
        "state": run.state,
        "url": run.url,
        "metrics_url": _metrics(run),
        "dashboard_url": run.dashboard_url,
        **health.model_dump(mode="json"),
    }


def _show(where: DataDir, run: RunState | None, health: Health | None) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    if run is None or health is None:
        table.add_row(
            "service", "[red]not running[/]", f"on {where.root}: start it with ./recado up"
        )
    else:
        shown = "[green]healthy[/]" if health.healthy else f"[red]{run.state}, not healthy[/]"
        since = _duration(time.time() - run.process.started)
        table.add_row("service", shown, f"{run.url}, process {run.process.pid}, up {since}")
        for problem in health.problems:
            colour = "red" if problem.serious else "yellow"
            table.add_row("", f"[{colour}]→[/]", f"[{colour}]{_plain(problem.what)}[/]")
            table.add_row("", "", f"[bold]{_plain(problem.action)}[/]")
        _add_figures(table, health)
        table.add_row("webhook", "", f"{run.public_url.rstrip('/')}/webhooks/twilio")
        table.add_row("Ray dashboard", "", run.dashboard_url or "")
        table.add_row("metrics", "", _metrics(run))
        table.add_row("configuration", "", run.config)
    _add_services(table, read_state(where))
    table.add_row("logs", "", str(where.logs))
    console.print(table)


def _add_figures(table: Table, health: Health) -> None:
    if health.deployments:
        shown = ", ".join(
            f"{each.name} {each.running}/{each.target}" for each in health.deployments
        )
        table.add_row("replicas", "", shown)
    for queue in health.queues:
        table.add_row(
            f"queue {queue.queue}",
            "",
            f"{queue.waiting} waiting (oldest {queue.oldest_waiting_s:.1f} s), {queue.in_flight} in "
            f"flight, {queue.delayed} delayed, {queue.dead} dead",
        )
    if health.replies:
        shown = ", ".join(f"{count} {status}" for status, count in health.replies.items())
        table.add_row("open replies", "", shown)


def _metrics(run: RunState) -> str:
    return f"http://127.0.0.1:{run.ports.ray_metrics}/metrics"


def _add_services(table: Table, services: ServicesState | None) -> None:
    running = services is not None and services.running()
    if services is None or not running:
        table.add_row("local stores", "not running", "")
        return
    urls = {
        "valkey": services.redis_url,
        "postgres": services.database_url,
        "simulator": services.simulator_url,
    }
    for name, url in urls.items():
        process = services.processes.get(name)
        if url is None:
            table.add_row(name, "[dim]given by the environment or not wanted[/]", "")
        elif process is not None and process.alive():
            table.add_row(name, "[green]running[/]", f"{url}, process {process.pid}")
        else:
            table.add_row(name, "[red]down, being restarted[/]", url)


def _duration(seconds: float) -> str:
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _plain(text: str) -> str:
    """Brackets in messages are no markup."""
    return text.replace("[", r"\[")
