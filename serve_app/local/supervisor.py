"""One process that keeps the local servers running for as long as somebody needs them."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil
import structlog

from models.errors import RecadoError
from serve_app.local.layout import DataDir, LocalError
from serve_app.local.processes import ProcessRef, end_processes, haproxies
from serve_app.local.servers import Server, identity, log_path
from serve_app.local.state import ServicesState, State, read_state, write_state
from serve_app.local.users import live_users
from serve_app.settings import PROJECT_ROOT

_TICK_S = 0.1
_STOP_PATIENCE_S = 20.0
_RESTART_CAP_S = 10.0
_STEADY_S = 30.0
"""A server that has run for this long is restarted without delay when it dies."""

_log = structlog.get_logger(__name__)
_PR_SET_PDEATHSIG = 1


@dataclass
class _Child:
    server: Server
    process: subprocess.Popen[bytes]
    started: float
    failures: int = 0
    restart_at: float | None = None

    def put_off(self, now: float) -> float:
        """The next start; returns the seconds until then."""
        delay = min(_RESTART_CAP_S, 0.25 * 2**self.failures) if self.failures > 1 else 0.0
        self.restart_at = now + delay
        return delay


class Supervisor:
    """Runs in the main thread of its process; the caller holds the data directory's lock."""

    def __init__(
        self,
        *,
        data_dir: DataDir,
        servers: Sequence[Server],
        public_url: str,
        on_settled: Callable[[], None],
        ready_timeout_s: float = 60.0,
    ) -> None:
        """`on_settled` is called once, when the servers are ready or have failed."""
        self._data_dir = data_dir
        self._servers = list(servers)
        self._on_settled = on_settled
        self._ready_timeout_s = ready_timeout_s
        self._children: list[_Child] = []
        self._stop = False
        self._untold = False
        self._prctl: Callable[[int, int], int] | None = (
            ctypes.CDLL(None).prctl if sys.platform == "linux" else None
        )
        urls = {server.name: server.url for server in servers}
        self._state = ServicesState(
            state="starting",
            supervisor=ProcessRef.own(),
            redis_url=urls.get("valkey"),
            database_url=urls.get("postgres"),
            simulator_url=urls.get("simulator"),
            public_url=public_url,
        )

    def run(self) -> int:
        """Until a signal comes or nobody needs the servers; the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self._end_leftovers()
        try:
            self._write("starting")
            self._start_all()
        except (RecadoError, OSError, subprocess.SubprocessError) as error:
            _log.error("local services failed to start", error=str(error))
            self._stop_all()
            self._tell("failed", error=str(error))
            self._on_settled()
            return 1
        if not self._stop:
            self._tell("ready")
            _log.info("local services ready")
        self._on_settled()
        while not self._stop:
            self._watch()
            if self._untold:
                self._tell("ready")
            if not live_users(self._data_dir):
                self._tell("stopping")
                # Somebody may have come between the look and the announcement.
                if not live_users(self._data_dir):
                    break
                self._tell("ready")
            time.sleep(_TICK_S)
        self._tell("stopping")
        self._stop_all()
        orphans = end_processes(haproxies(config_under=self._data_dir.short), patience_s=3.0)
        if orphans:
            _log.warning("ended a load balancer that nobody runs any more", pids=orphans)
        self._tell("stopped")
        _log.info("local services stopped")
        return 0

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stop = True

    def _start_all(self) -> None:
        deadline = time.monotonic() + self._ready_timeout_s
        for server in self._servers:
            server.prepare()
            self._children.append(
                _Child(server=server, process=self._spawn(server), started=time.monotonic())
            )
        waiting = list(self._children)
        while waiting and not self._stop:
            for child in list(waiting):
                if child.process.poll() is not None:
                    raise LocalError(
                        f"{child.server.name} stopped with status {child.process.returncode}: "
                        f"{self._last_words(child.server)}"
                    )
                if child.server.is_ready(child.process.pid):
                    waiting.remove(child)
            if time.monotonic() > deadline:
                names = ", ".join(child.server.name for child in waiting)
                raise LocalError(
                    f"{names} not ready after {self._ready_timeout_s:.0f} s; see {self._data_dir.logs}"
                )
            time.sleep(0.02)

    def _spawn(self, server: Server) -> subprocess.Popen[bytes]:
        launch = server.launch()
        with log_path(self._data_dir, server.name).open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - our own programs and arguments
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/" if launch.user else PROJECT_ROOT,
                env={**os.environ, **launch.environment},
                start_new_session=True,
                # This process has one thread.
                preexec_fn=lambda: self._die_with_us(server.stop_signal),  # noqa: PLW1509
                **identity(launch.user),
            )
        _log.info("started", server=server.name, server_pid=process.pid)
        return process

    def _die_with_us(self, number: signal.Signals) -> None:
        if self._prctl is not None:
            self._prctl(_PR_SET_PDEATHSIG, int(number))

    def _watch(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if child.restart_at is None:
                if child.process.poll() is None:
                    continue
                ran = now - child.started
                child.failures = 0 if ran > _STEADY_S else child.failures + 1
                delay = child.put_off(now)
                _log.error(
                    "died",
                    server=child.server.name,
                    status=child.process.returncode,
                    restart_in_s=delay,
                    last_words=self._last_words(child.server),
                )
            if child.restart_at is not None and now >= child.restart_at:
                self._restart(child, now)

    def _restart(self, child: _Child, now: float) -> None:
        """What keeps a server from starting now, a full disk above all, may pass: the others need this
        process, so it never ends for it."""
        try:
            child.process = self._spawn(child.server)
        except (OSError, subprocess.SubprocessError) as error:
            child.failures += 1
            delay = child.put_off(now)
            _log.error(
                "not restarted", server=child.server.name, error=str(error), restart_in_s=delay
            )
            return
        child.restart_at = None
        child.started = now
        self._tell("ready")

    def _stop_all(self) -> None:
        """Clients first: in the reverse order of starting, each group given its time."""
        deadline = time.monotonic() + _STOP_PATIENCE_S
        for child in reversed(self._children):
            if child.process.poll() is None:
                child.process.send_signal(child.server.stop_signal)
        for child in reversed(self._children):
            try:
                child.process.wait(timeout=max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("killed, it did not stop in time", server=child.server.name)
                child.process.kill()
                child.process.wait(timeout=10)
        self._children.clear()

    def _end_leftovers(self) -> None:
        """Servers of a supervisor that was killed would hold the data and the ports."""
        before = read_state(self._data_dir)
        if before is None:
            return
        signals = {server.name: server.stop_signal for server in self._servers}
        left = {name: ref.process() for name, ref in before.processes.items()}
        for name, process in left.items():
            if process is not None:
                _log.warning(
                    "ending a server of an earlier run", server=name, server_pid=process.pid
                )
                process.send_signal(signals.get(name, signal.SIGTERM))
        for process in left.values():
            if process is not None:
                try:
                    process.wait(timeout=_STOP_PATIENCE_S)
                except psutil.TimeoutExpired as error:
                    raise LocalError(
                        f"A server of an earlier run (process {process.pid}) doesn't stop: {error}"
                    ) from error

    def _last_words(self, server: Server) -> str:
        try:
            text = log_path(self._data_dir, server.name).read_text("utf-8", errors="replace")
        except OSError:
            return "no log"
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1][-400:] if lines else "it wrote nothing"

    def _tell(self, state: State, *, error: str | None = None) -> None:
        """Write the state down; what a full disk doesn't take is written at a later tick."""
        try:
            self._write(state, error=error)
            self._untold = False
        except OSError as problem:
            if not self._untold:
                _log.error("state not written", state=state, error=str(problem))
            self._untold = True

    def _write(self, state: State, *, error: str | None = None) -> None:
        processes = {
            child.server.name: ref
            for child in self._children
            if (ref := ProcessRef.of(child.process.pid)) is not None
        }
        self._state = self._state.model_copy(
            update={"state": state, "error": error, "processes": processes}
        )
        write_state(self._data_dir, self._state)
