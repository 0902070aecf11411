"""Processes are told apart by when they started, and ended for good."""

from __future__ import annotations

import subprocess
import sys

import psutil

from serve_app.local.processes import ProcessRef, end_processes, haproxies, in_session
from serve_app.local.servers import free_port, port_is_free, somebody_listens

_STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(60)
"""


def test_a_reused_id_is_another_process() -> None:
    own = ProcessRef.own()
    assert own.alive()
    assert not own.model_copy(update={"started": own.started - 10}).alive()


def test_a_zombie_does_not_run() -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    ref = ProcessRef.of(child.pid)
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert ref is not None
    assert not ref.alive()
    child.wait()
    assert ProcessRef.of(child.pid) is None


def test_a_process_that_ignores_the_request_is_made_to_end() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _STUBBORN], stdout=subprocess.PIPE, start_new_session=True
    )
    assert child.stdout is not None
    child.stdout.readline()
    found = list(in_session(child.pid))
    assert [process.pid for process in found] == [child.pid]
    assert end_processes(found, patience_s=0.1) == [child.pid]
    child.stdout.close()
    assert list(in_session(child.pid)) == []
    child.wait(timeout=5)


def test_somebody_elses_load_balancer_is_not_ours(tmp_path_factory) -> None:
    assert list(haproxies(config_under=tmp_path_factory.mktemp("nobody"))) == []


def test_ports() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert not port_is_free(port)
        assert somebody_listens(port)
        assert free_port(port) != port
    assert port_is_free(port)
    assert not somebody_listens(port)
    assert free_port(port) == port
