"""`recado up`: checks, then starts the product's process and follows it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from serve_app.cli.configuration import Configuration, read_configuration
from serve_app.cli.log_follower import LogFollower
from serve_app.cli.preflight import (
    PreflightError,
    allow_many_files,
    choose_ports,
    clear_leftovers,
    refuse_second_run,
)
from serve_app.cli.ray_environment import log_file
from serve_app.cli.run_state import RunState
from serve_app.cli.terminal import PrintedSteps, console, fail, print_step
from serve_app.console_access import is_private, told_where_it_listens
from serve_app.local.layout import DataDir
from serve_app.local.processes import ProcessRef
from serve_app.settings import PROJECT_ROOT, AppSettings, EnvironmentSettings

_DEFAULT_PORT = 8000
_RAY_TOKEN = "~/.ray/auth_token"  # noqa: S105 - where Ray keeps it


def up(
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return when the service is healthy.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=64_000, help="Of the service; the others follow from it."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            help="Stores, logs and generated secrets (default: RECADO_DATA_DIR or .recado)."
        ),
    ] = None,
    config: Annotated[Path, typer.Option(help="A Serve configuration.")] = PROJECT_ROOT
    / "config.yaml",
    simulator: Annotated[
        bool,
        typer.Option(help="The stand-in for Twilio; --no-simulator talks to Twilio itself."),
    ] = True,
) -> None:
    """Start everything: stores, models, the service and a simulated phone network."""
    if not simulator:
        os.environ["RECADO_SIMULATOR"] = "false"
    if data_dir is not None:
        # Also for the processes that this one starts.
        os.environ["RECADO_DATA_DIR"] = str(data_dir.expanduser().resolve())
    env = EnvironmentSettings()
    where = DataDir.at(env.data_dir)
    configuration = read_configuration(config.expanduser().resolve())
    where.prepare()
    with (where.root / "up.lock").open("w") as lock:
        _take(lock.fileno(), where)
        refuse_second_run(where)
        clear_leftovers(where, PrintedSteps())
        run = _plan(configuration, env, port, detached=detach)
        allow_many_files()
        _keep_last_log(where)
        console.print(f"[bold]Starting recado[/] [dim]with {configuration.path}[/]")
        child, reader = _start(where, configuration, run, lock.fileno())
    follower = None if detach else LogFollower(log_file(where))
    raise typer.Exit(_Attendant(child, reader, where, configuration.settings, follower).run())


class _Attendant:
    """Shows what the product's process tells, and passes signals on to it."""

    def __init__(
        self,
        child: subprocess.Popen[bytes],
        reader: int,
        data_dir: DataDir,
        settings: AppSettings,
        follower: LogFollower | None,
    ) -> None:
        """`follower` None: leave when the product is ready."""
        self._child = child
        self._reader = reader
        self._data_dir = data_dir
        self._settings = settings
        self._follower = follower
        self._signals = 0

    def run(self) -> int:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        error: str | None = None
        with os.fdopen(self._reader, "r", encoding="utf-8") as messages:
            for line in messages:
                message: dict[str, Any] = json.loads(line)
                if "step" in message:
                    print_step(message["step"], message["took_s"])
                elif "note" in message:
                    PrintedSteps().note(message["note"])
                elif "ready" in message:
                    run = RunState.model_validate(message["ready"])
                    _print_addresses(run, self._settings, self._data_dir)
                    if self._follower is None:
                        return 0
                    self._follower.start()
                elif "error" in message:
                    error = error or message["error"]
        status = self._child.wait()
        if self._follower is not None:
            self._follower.stop()
        if status == 0 and self._follower is None and not self._signals:
            error = "it was stopped before it was ready"
        elif status != 0 and error is None:
            error = f"the product's process ended with status {status}"
        if error is not None:
            self._explain(error)
        return 0 if error is None else 1

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._signals += 1
        if self._signals == 1:
            console.print("\nStopping: running turns may finish. Once more ends them.")
            self._child.terminate()
        elif self._signals == 2:
            self._child.kill()

    def _explain(self, error: str) -> None:
        for path in (self._data_dir.logs / "up.log", log_file(self._data_dir)):
            lines = _last_lines(path, 5)
            if lines:
                console.print(f"[dim]Last lines of {path}:[/]", soft_wrap=True)
            for line in lines:
                console.print("  " + line[:240], markup=False, style="dim", soft_wrap=True)
        fail(error)


def _take(descriptor: int, data_dir: DataDir) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        refuse_second_run(data_dir)
        raise PreflightError(
            f"recado is starting or stopping on {data_dir.root}: wait, or stop it with `./recado down`."
        ) from None


def _plan(
    configuration: Configuration, env: EnvironmentSettings, port: int | None, *, detached: bool
) -> RunState:
    ports = choose_ports(port or configuration.port or _DEFAULT_PORT)
    run = RunState(
        state="starting",
        process=ProcessRef.own(),
        session=os.getsid(0),
        config=str(configuration.path),
        detached=detached,
        host=configuration.host,
        ports=ports,
        public_url="",
    )
    public_url = env.public_url or configuration.settings.public_url or run.url
    return run.model_copy(update={"public_url": public_url})


def _start(
    data_dir: DataDir, configuration: Configuration, run: RunState, lock: int
) -> tuple[subprocess.Popen[bytes], int]:
    reader, writer = os.pipe()
    command = [
        sys.executable,
        *("-m", "serve_app.cli.product"),
        *("--data-dir", str(data_dir.root)),
        *("--config", str(configuration.path)),
        *("--run", run.model_dump_json()),
        *("--notify-fd", str(writer)),
        *("--lock-fd", str(lock)),
    ]
    if not run.detached:
        command += ["--parent", str(os.getpid())]
    with (data_dir.logs / "up.log").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program and arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=PROJECT_ROOT,
            start_new_session=True,
            pass_fds=(writer, lock),
        )
    os.close(writer)
    return child, reader


def _keep_last_log(data_dir: DataDir) -> None:
    current = log_file(data_dir)
    if current.exists():
        current.replace(current.with_suffix(".log.1"))


def _last_lines(path: Path, count: int) -> list[str]:
    try:
        return path.read_text("utf-8", errors="replace").splitlines()[-count:]
    except OSError:
        return []


def console_address(run: RunState, settings: AppSettings, env: EnvironmentSettings) -> str:
    """Where the operators' pages are, or why they aren't on."""
    env = told_where_it_listens(env.model_copy(update={"public_url": run.public_url}), run.host)
    if settings.console.enabled == "off":
        return "off (console.enabled)"
    if env.console_token is not None and env.console_token.get_secret_value():
        return f"{run.url}/console (token: RECADO_CONSOLE_TOKEN)"
    if is_private(env):
        return f"{run.url}/console (token: ./recado console token)"
    if settings.console.enabled == "on":
        return f"{run.url}/console (operators: ./recado console add)"
    return "off where other machines reach the service, until RECADO_CONSOLE_TOKEN is set"


def _print_addresses(run: RunState, settings: AppSettings, data_dir: DataDir) -> None:
    console.print("[bold green]Ready[/]")
    for name, address in (
        ("webhook", f"{run.public_url.rstrip('/')}/webhooks/twilio"),
        ("simulator", run.simulator_url),
        ("console", console_address(run, settings, EnvironmentSettings())),
        ("API", f"{run.url}/openapi.json"),
        ("Ray dashboard", f"{run.dashboard_url} (token: {_RAY_TOKEN})"),
        ("logs", str(data_dir.logs)),
    ):
        if address:
            console.print(f"  {name:<14} {address}", markup=False, soft_wrap=True)
    if run.detached:
        console.print("Stop it with [bold]./recado down[/].")
    else:
        console.print("Stop it with Ctrl-C.")
