"""Starting and stopping the product, both ways."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from tests.e2e.product import NOTES, Product, free_port_block, write_config

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]


def make(folder: Path) -> Product:
    port = free_port_block()
    return Product(
        folder=folder, port=port, config=write_config(folder / "c.yaml", port=port, args={})
    )


def test_down_leaves_nothing_and_up_finds_everything_again(tmp_path: Path) -> None:
    product = make(tmp_path)
    phone = "whatsapp:+15554000001"
    started = product.up()
    try:
        assert started.returncode == 0, started.stdout + started.stderr
        assert product.say("hello", phone=phone).returncode == 0
        assert product.recado("status").returncode == 0
        again = product.up()
        assert again.returncode != 0, "a second start on the same data directory must be refused"
        assert len(again.stderr.strip().splitlines()) == 1
    finally:
        stopped = product.down()
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    deadline = time.monotonic() + 5
    while left := product.processes():
        assert time.monotonic() < deadline, [p.cmdline()[:4] for p in left]
        time.sleep(0.1)
    for port in (product.port, product.port + 1):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still taken"
    assert product.recado("status").returncode != 0


def test_serve_run_brings_up_the_same_service(tmp_path: Path) -> None:
    product = make(tmp_path)
    with product.serve_run():
        product.await_ready()
        text = product.say("what time do you open on saturday")
        assert "from 09:00 to 16:30" in text.stdout, text.stdout + text.stderr
        voice = product.say("--audio", str(NOTES / "where.ogg"))
        assert "heard: Where are you located?" in voice.stdout, voice.stdout + voice.stderr
        assert "27 Garden Lane" in voice.stdout
    deadline = time.monotonic() + 60
    while left := product.processes():
        assert time.monotonic() < deadline, [p.cmdline()[:4] for p in left]
        time.sleep(0.3)
