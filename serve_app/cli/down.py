"""`recado down`: ends what `recado up` started, and looks that nothing is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.preflight import end_leftovers
from serve_app.cli.run_state import Ports, RunState, forget_run, read_run
from serve_app.cli.terminal import PrintedSteps, console, fail
from serve_app.local.layout import DataDir
from serve_app.local.servers import somebody_listens
from serve_app.local.services import release_services
from serve_app.settings import EnvironmentSettings

_PATIENCE_S = 120.0
"""Serve's own limit, Ray's and the stores' together."""


def down(
    data_dir: Annotated[Path | None, typer.Option(help="As given to `up`.")] = None,
) -> None:
    """Drain and stop. What is stored stays."""
    if data_dir is not None:
        os.environ["RECADO_DATA_DIR"] = str(data_dir.expanduser().resolve())
    env = EnvironmentSettings()
    where = DataDir.at(env.data_dir)
    run = read_run(where)
    steps = PrintedSteps()
    was_running = run is not None and run.process.alive()
    if run is not None and was_running:
        with steps.step(f"draining and stopping process {run.process.pid}"):
            stopped = _stop(run)
        if not stopped:
            fail(f"process {run.process.pid} did not stop in {_PATIENCE_S:.0f} s and was killed")
    left = end_leftovers(where, run)
    for process in left:
        steps.note(f"ended what was left behind: {process}")
    if run is None and not left:
        console.print(f"Nothing runs on {where.root}.")
        return
    if run is not None and where.users.is_dir():
        release_services(env, while_pid=run.process.pid)
    forget_run(where)
    # Had it died before, its ports could be another installation's by now.
    taken = _still_taken(run.ports) if run is not None and was_running else []
    if taken:
        fail(f"stopped, but these ports are still taken: {', '.join(map(str, taken))}")
        raise typer.Exit(1)
    console.print("Stopped.")


def _stop(run: RunState) -> bool:
    process = run.process.process()
    if process is None:
        return True
    process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + _PATIENCE_S
    while run.process.alive():
        if time.monotonic() > deadline:
            process.kill()
            return False
        time.sleep(0.05)
    return True


def _still_taken(ports: Ports) -> list[int]:
    """Sockets are closed a moment after their process has ended."""
    deadline = time.monotonic() + 3.0
    while True:
        taken = [port for port in ports.model_dump().values() if somebody_listens(port)]
        if not taken or time.monotonic() > deadline:
            return taken
        time.sleep(0.1)
