"""No-op jobs through our queue and through its peers, on one server with one AOF setting."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import redis as redis_client

from models.errors import RecadoError
from serve_app.cli.bench.machine import describe_machine
from serve_app.cli.bench.plot import Panel, write_svg
from serve_app.cli.bench.queue_peers import PEERS, is_installed, prepare
from serve_app.cli.bench.rounds import load_average, ratios
from serve_app.cli.bench.stores import own_environment
from serve_app.local.services import ensure_services, release_services

LIMIT_S = 150.0
MODES = ("publish", "work")
WORK_TARGETS = {"taskiq-redis": 1.5, "arq": 5.0, "celery": 2.0}
PUBLISH_TARGETS = {"taskiq-redis": 2.0}
SWEEP = (1, 4, 16, 64, 128)


def run(
    *,
    jobs: int,
    rounds: int,
    concurrency: int,
    against: tuple[str, ...],
    install: bool,
    plot: Path | None,
) -> dict[str, object]:
    """Jobs per second that one process publishes and one worker process works off.

    A peer that can't be installed or fails is left out, with the reason in the report; without `install`
    those that aren't there yet are.
    """
    unknown = set(against) - set(PEERS)
    if unknown:
        raise RecadoError(f"unknown peer {', '.join(unknown)}: there are {', '.join(PEERS)}")
    commands = {"recado": [sys.executable, "-m", "serve_app.cli.bench.queue_side"]}
    left_out: dict[str, str] = {}
    for name in against or tuple(PEERS):
        if not install and not is_installed(name):
            left_out[name] = f"not installed: `./recado bench queue --against {name}` does"
            continue
        try:
            commands[name] = prepare(name)
        except RecadoError as error:
            left_out[name] = str(error)
    with _server() as url:
        measured = Measured(commands, left_out, url)
        for _ in range(rounds):
            measured.round(jobs, concurrency)
        machine = {
            **describe_machine("redis"),
            "server": _server_version(url),
            "load average": load_average(),
        }
        if plot is not None:
            _plot(plot, measured, jobs, machine)
    rates = {
        key: {s: r for s, r in v.items() if s in commands} for key, v in measured.rates.items()
    }
    return {
        "machine": machine,
        "peers": {name: " ".join(PEERS[name].packages) for name in commands if name in PEERS},
        "left_out": left_out,
        "jobs_each": jobs,
        "rounds": rounds,
        "concurrency": concurrency,
        "published_per_s": rates["publish"],
        "worked_off_per_s": rates["work"],
        "published_per_cpu_second": rates["publish cpu"],
        "worked_off_per_cpu_second": rates["work cpu"],
        "ratios": {
            **ratios(rates["work"], WORK_TARGETS, of="jobs/s"),
            **ratios(rates["publish"], PUBLISH_TARGETS, of="published/s"),
            **ratios(rates["work cpu"], {}, of="jobs per CPU second"),
            **ratios(rates["publish cpu"], {}, of="published per CPU second"),
        },
    }


class Measured:
    """Rates of all sides by round, wall and CPU. A peer that fails once is out, in `left_out`."""

    def __init__(self, commands: dict[str, list[str]], left_out: dict[str, str], url: str) -> None:
        self.commands = commands
        self._left_out = left_out
        self.url = url
        self.rates: dict[str, dict[str, list[float]]] = {
            key: {side: [] for side in commands} for mode in MODES for key in (mode, f"{mode} cpu")
        }

    def round(self, jobs: int, concurrency: int) -> None:
        for side, rates in self.turn(jobs, concurrency):
            for mode, (wall, cpu) in rates.items():
                self.rates[mode][side].append(wall)
                self.rates[f"{mode} cpu"][side].append(cpu)

    def turn(
        self, jobs: int, concurrency: int
    ) -> Generator[tuple[str, Mapping[str, tuple[float, float]]]]:
        """Each side publishes and works off once. Raises `RecadoError` if ours fails."""
        for side, command in list(self.commands.items()):
            try:
                rates = {
                    mode: _rate(command, mode, self.url, jobs, concurrency, side) for mode in MODES
                }
            except RecadoError as error:
                if side == "recado":
                    raise
                self._left_out[side] = str(error)
                del self.commands[side]
            else:
                yield side, rates
            finally:
                _empty(self.url)


@contextmanager
def _server() -> Generator[str]:
    """A Valkey of its own, by its address."""
    with own_environment() as env:
        services = ensure_services(env, while_pid=os.getpid(), simulator=False)
        try:
            if services.redis_url is None:
                raise RecadoError("the local Valkey gave no address; see logs/services.log")
            yield services.redis_url
        finally:
            release_services(env, while_pid=os.getpid())


def _rate(
    command: list[str], mode: str, url: str, jobs: int, concurrency: int, side: str
) -> tuple[float, float]:
    """Jobs per second, and per second of the process' own CPU, which says more on a busy machine."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own module, or a peer's environment made by us
            [*command, mode, url, str(jobs), str(concurrency)],
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise RecadoError(f"{side}: {mode} took longer than {LIMIT_S:g} s") from error
    words = done.stdout.split()
    if done.returncode != 0 or "cpu" not in words:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise RecadoError(f"{side}: {mode} failed: {lines[-1][:300]}")
    after = words.index("cpu")
    return jobs / float(words[after + 1]), jobs / max(float(words[after + 2]), 1e-6)


def _server_version(url: str) -> str:
    with redis_client.Redis.from_url(url, socket_timeout=10, decode_responses=True) as client:  # pyright: ignore[reportUnknownMemberType] - untyped there
        info: dict[str, str] = client.info("server")  # pyright: ignore[reportUnknownMemberType, reportAssignmentType]
        synced: dict[str, str] = client.config_get("appendfsync")  # pyright: ignore[reportUnknownMemberType, reportAssignmentType]
    name = "valkey" if "valkey_version" in info else "redis"
    return f"{name} {info.get(f'{name}_version', '?')}, appendfsync {synced.get('appendfsync')}"


def _empty(url: str) -> None:
    """What a side leaves behind (results, trimmed streams) mustn't burden the next."""
    with redis_client.Redis.from_url(url, socket_timeout=30) as client:  # pyright: ignore[reportUnknownMemberType] - untyped there
        client.flushall()  # pyright: ignore[reportUnknownMemberType]


def _plot(path: Path, measured: Measured, jobs: int, machine: dict[str, str]) -> None:
    """Throughput against concurrency, and the time a job takes against load, by Little's law."""
    lines: dict[str, dict[str, list[tuple[float, float]]]] = {
        "publish": {},
        "work": {},
        "wait": {},
    }
    for concurrency in SWEEP:
        for side, rates in measured.turn(jobs, concurrency):
            for mode in MODES:
                lines[mode].setdefault(side, []).append((concurrency, rates[mode][0]))
            rate = rates["publish"][0]
            lines["wait"].setdefault(side, []).append((rate, 1000 * concurrency / rate))
    panels = [
        Panel(
            "published per second", "at the same time", "jobs/s", lines["publish"], doubling=True
        ),
        Panel(
            "worked off per second, one process",
            "at the same time",
            "jobs/s",
            lines["work"],
            doubling=True,
        ),
        Panel("a publish takes on average", "load, jobs/s", "ms", lines["wait"]),
    ]
    write_svg(path, panels, note=", ".join(f"{k} {v}" for k, v in machine.items()))
