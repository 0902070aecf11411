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

from serve_app.cli.context import ConfigOption
from serve_app.cli.run_state import RunState, read_run
from serve_app.cli.terminal import console
from serve_app.local.layout import DataDir
from serve_app.local.state import ServicesState, read_state
from serve_app.settings import EnvironmentSettings

if TYPE_CHECKING:
    from serve_app.cli.health import Health, Installation


def status(
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON.")] = False,
    url: Annotated[
        str | None,
        typer.Option(
            help="Of a service that `up` didn't start here: where /healthz/ready answers "
            "(default: RECADO_PUBLIC_URL)."
        ),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="As given to `up`.")] = None,
    config: ConfigOption = None,
) -> None:
    """Show what runs and whether it is healthy; exit status 1 if not. On a cluster the stores are those of
    RECADO_REDIS_URL and RECADO_DATABASE_URL, the replicas those of RAY_DASHBOARD_ADDRESS."""
    if data_dir is not None:
        os.environ["RECADO_DATA_DIR"] = str(data_dir.expanduser().resolve())
    env = EnvironmentSettings()
    where = DataDir.at(env.data_dir)
    run = None if url else read_run(where)
    if run is not None and not run.process.alive():
        run = None
    at = _installation(run, url or env.public_url, where, config)
    health = None
    if at is not None:
        from serve_app.cli.health import look

        health = asyncio.run(look(at))
    if as_json:
        print(json.dumps(_document(run, at, health), indent=2))
    else:
        _show(where, run, at, health)
    if health is None or not health.healthy:
        raise typer.Exit(1)


def _installation(
    run: RunState | None, url: str | None, where: DataDir, config: Path | None
) -> Installation | None:
    """None where nothing runs here and nobody says what runs elsewhere."""
    from serve_app.cli.health import Installation

    if run is not None:
        return Installation(
            url=run.url,
            dashboard_url=run.dashboard_url,
            data_dir=where.root,
            config=Path(run.config),
            logs=str(where.logs / "recado.log"),
        )
    if not url:
        return None
    return Installation(
        url=url.rstrip("/"),
        dashboard_url=os.environ.get("RAY_DASHBOARD_ADDRESS"),
        data_dir=where.root,
        config=config,
        logs="its replicas' logs",
    )


def _document(
    run: RunState | None, at: Installation | None, health: Health | None
) -> dict[str, object]:
    if at is None or health is None:
        return {"running": False, "healthy": False}
    return {
        "running": run is not None or health.ready or bool(health.parts),
        "healthy": health.healthy,
        "state": run.state if run else None,
        "url": at.url,
        "metrics_url": _metrics(run) if run else None,
        "dashboard_url": at.dashboard_url,
        **health.model_dump(mode="json"),
    }


def _show(
    where: DataDir, run: RunState | None, at: Installation | None, health: Health | None
) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    if at is None or health is None:
        start = f"on {where.root}: start it with ./recado up"
        table.add_row("service", "[red]not running[/]", start)
        table.add_row("", "", "or name one that runs elsewhere: RECADO_PUBLIC_URL, or --url")
    else:
        wrong = f"{run.state}, not healthy" if run else "not healthy"
        shown = "[green]healthy[/]" if health.healthy else f"[red]{wrong}[/]"
        table.add_row("service", shown, at.url + (_process(run) if run else ""))
        for problem in health.problems:
            colour = "red" if problem.serious else "yellow"
            table.add_row("", f"[{colour}]→[/]", f"[{colour}]{_plain(problem.what)}[/]")
            table.add_row("", "", f"[bold]{_plain(problem.action)}[/]")
        _add_figures(table, health)
        table.add_row("Ray dashboard", "", at.dashboard_url or "not known: RAY_DASHBOARD_ADDRESS")
    if run is not None:
        table.add_row("webhook", "", f"{run.public_url.rstrip('/')}/webhooks/twilio")
        table.add_row("metrics", "", _metrics(run))
        table.add_row("configuration", "", run.config)
    if run is not None or at is None:
        _add_services(table, read_state(where))
        table.add_row("logs", "", str(where.logs))
    console.print(table)


def _process(run: RunState) -> str:
    return f", process {run.process.pid}, up {_duration(time.time() - run.process.started)}"


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
    if health.sent or health.failed:
        shown = f"{health.sent} sent, {health.failed} failed"
        table.add_row("replies, last hour", "", shown)


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
