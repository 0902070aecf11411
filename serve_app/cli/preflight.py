"""What is looked at before anything is started."""

from __future__ import annotations

import os
import resource

import psutil

from models.errors import RecadoError
from serve_app.cli.run_state import Ports, RunState, forget_run, read_run
from serve_app.cli.terminal import Steps
from serve_app.local.layout import DataDir
from serve_app.local.processes import ProcessRef, end_processes, haproxies, in_session, is_running
from serve_app.local.servers import free_port, port_is_free

_REPLICA_PORTS = range(30_000, 32_700, 100)
"""Blocks below the ports that operating systems hand out to clients."""


class PreflightError(RecadoError):
    """One line that says what is in the way and what to do."""


def refuse_second_run(data_dir: DataDir) -> None:
    """Raises `PreflightError` if the product runs on this data directory."""
    run = read_run(data_dir)
    if run is not None and run.process.alive():
        raise PreflightError(
            f"recado already runs here (process {run.process.pid}, {run.url}): stop it with "
            "`./recado down`, or choose another --data-dir and --port."
        )


def clear_leftovers(data_dir: DataDir, steps: Steps) -> None:
    """End what a run on this data directory left behind when it was killed."""
    run = read_run(data_dir)
    for process in end_leftovers(data_dir, run):
        steps.note(f"ended what an earlier run had left behind: {process}")
    forget_run(data_dir)


def end_leftovers(data_dir: DataDir, run: RunState | None) -> list[str]:
    """The processes that there were: load balancers of this data directory, and Ray's of this run.

    Called by the run's own process at its end, or by another session's later.
    """
    found = list(haproxies(config_under=data_dir.short))
    if run is not None and _is_ours(run):
        found += in_session(run.session)
    # Ray's helpers end by themselves, a moment after Ray.
    _, alive = psutil.wait_procs(found, timeout=1.5)
    left = {process.pid: process for process in alive if is_running(process)}
    names = [_describe(process) for process in left.values()]
    end_processes(left.values(), patience_s=3.0)
    return names


def _describe(process: psutil.Process) -> str:
    try:
        return f"{process.name()} ({process.pid})"
    except psutil.Error:
        return f"process {process.pid}"


def _is_ours(run: RunState) -> bool:
    """A session's id is that of its first process; by now it may be another program's."""
    if run.process.pid == os.getpid():
        return True
    if run.session == os.getsid(0):
        return False
    leader = ProcessRef.of(run.session)
    return leader is None or leader == run.process


def choose_ports(port: int) -> Ports:
    """All ports of an installation at `port`; raises `PreflightError` if that one is taken.

    The others follow from it where they are free, so that two installations on one machine don't meet.
    """
    if not port_is_free(port):
        raise PreflightError(_who_holds(port))
    return Ports(
        http=port,
        simulator=free_port(port + 1),
        dashboard=free_port(port + 265),
        fallback=free_port(port + 500),
        haproxy_stats=free_port(port + 404),
        haproxy_metrics=free_port(port + 1101),
        ray_metrics=free_port(port + 80),
        replicas=_replica_ports(),
    )


def _replica_ports() -> int:
    for first in _REPLICA_PORTS:
        if all(port_is_free(first + offset) for offset in range(4)):
            return first
    raise PreflightError(
        f"No ports are free between {_REPLICA_PORTS.start} and {_REPLICA_PORTS.stop}: the service's "
        "replicas need some."
    )


def _who_holds(port: int) -> str:
    for process in haproxies():
        if not _listens(process, port):
            continue
        if _is_orphan(process):
            return (
                f"Port {port} is held by an HAProxy that an earlier Ray Serve left behind (process "
                f"{process.pid}): stop it with `kill {process.pid}`, or choose another port with "
                "--port."
            )
        return (
            f"Port {port} is held by the HAProxy (process {process.pid}) of a Ray Serve that runs: "
            "stop that with its own `./recado down` or Ctrl-C, or choose another port with --port."
        )
    holder = _listener(port)
    who = f" by {holder.name()} (process {holder.pid})" if holder is not None else ""
    return f"Port {port} is taken{who}: stop that, or choose another port with --port."


def _is_orphan(haproxy: psutil.Process) -> bool:
    """Serve's load balancer is a child of the actor that manages it."""
    try:
        parent = haproxy.parent()
        return parent is None or "ray" not in parent.name().lower()
    except psutil.Error:
        return True


def _listener(port: int) -> psutil.Process | None:
    """Only root and the owner can see who it is; macOS doesn't tell anybody else."""
    for process in psutil.process_iter():
        if _listens(process, port):
            return process
    return None


def _listens(process: psutil.Process, port: int) -> bool:
    try:
        connections = process.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return False
    return any(
        connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        for connection in connections
    )


def allow_many_files() -> None:
    """Ray opens many; macOS starts shells with 256."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
