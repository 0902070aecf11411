"""Processes by identity: a process id is reused, a process id with its start time is not."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
from pydantic import BaseModel


class ProcessRef(BaseModel):
    """One process, for good."""

    pid: int
    started: float
    """As the operating system tells it, seconds since the epoch."""

    @classmethod
    def of(cls, pid: int) -> ProcessRef | None:
        """None if it doesn't run."""
        try:
            return cls(pid=pid, started=psutil.Process(pid).create_time())
        except psutil.Error:
            return None

    @classmethod
    def own(cls) -> ProcessRef:
        """The calling process."""
        return cls(pid=os.getpid(), started=psutil.Process().create_time())

    def process(self) -> psutil.Process | None:
        """The running process; None once it is gone, a zombie, or its id is another's."""
        try:
            process = psutil.Process(self.pid)
            # The kernel's clock ticks make the start time exact to 10 ms.
            if abs(process.create_time() - self.started) > 0.05:
                return None
            return None if process.status() == psutil.STATUS_ZOMBIE else process
        except psutil.Error:
            return None

    def alive(self) -> bool:
        return self.process() is not None


def end_processes(processes: Iterable[psutil.Process], *, patience_s: float) -> list[int]:
    """Ask them to end, then make them; returns the ids of those that were there."""
    targets = list(processes)
    for process in targets:
        _signal(process, kill=False)
    _, left = psutil.wait_procs(targets, timeout=patience_s)
    for process in left:
        _signal(process, kill=True)
    psutil.wait_procs(left, timeout=5.0)
    return [process.pid for process in targets]


def haproxies(*, config_under: Path | None = None) -> Iterator[psutil.Process]:
    """HAProxy processes that Ray Serve started, with their configuration below `config_under`."""
    for process in psutil.process_iter():
        try:
            if "haproxy" not in process.name():
                continue
            command = process.cmdline()
        except psutil.Error:
            continue
        configurations = [Path(part) for part in command if part.endswith("haproxy.cfg")]
        if config_under is None or any(
            path.is_relative_to(config_under) for path in configurations
        ):
            yield process


def in_session(session: int) -> Iterator[psutil.Process]:
    """Every process of a terminal session that still runs, the caller left out."""
    for process in psutil.process_iter():
        try:
            ours = os.getsid(process.pid) == session and process.pid != os.getpid()
        except OSError:
            continue
        if ours and is_running(process):
            yield process


def is_running(process: psutil.Process) -> bool:
    """False also for one that has ended and whose parent hasn't looked yet."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _signal(process: psutil.Process, *, kill: bool) -> None:
    try:
        if kill:
            process.kill()
        else:
            process.terminate()
    except psutil.NoSuchProcess:
        return
