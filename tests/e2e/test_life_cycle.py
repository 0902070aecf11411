"""Starting and stopping the product, both ways, one after the other on the same data."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import asyncpg
import pytest

from serve_app.local.layout import DataDir
from serve_app.local.state import read_state
from tests.e2e.product import NOTES, Product, free_port_block, write, write_config

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(420)]

IN_FLIGHT = [f"whatsapp:+155541000{number:02d}" for number in range(12)]
"""Who waits for an answer when the product is stopped."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Product:
    """A product that these tests start and stop themselves."""
    folder, port = tmp_path_factory.mktemp("life"), free_port_block()
    config = write_config(folder / "c.yaml", port=port, args={})
    return Product(folder=folder, port=port, config=config)


def test_ctrl_c_under_load_drains_and_leaves_nothing(own: Product) -> None:
    with own.up_in_front() as (process, output):
        _wait(lambda: "Ready" in output.read_text() or process.poll() is not None, limit_s=240)
        assert "Stop it with Ctrl-C" in output.read_text(), output.read_text()
        assert own.say("hello", phone="whatsapp:+15554000001").returncode == 0
        assert own.recado("status").returncode == 0
        again = own.up()
        assert again.returncode != 0, "a second start on the same data directory must be refused"
        assert len(again.stderr.strip().splitlines()) == 1
        with own.simulator as client:
            for phone in IN_FLIGHT:
                write(client, phone, "how much is a flat white")
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, output.read_text()
    shown = output.read_text()
    assert "running turns may finish" in shown
    assert '"webhook_accepted"' in shown, "the log is shown while it runs"
    assert_nothing_left(own)
    assert own.recado("status").returncode != 0


def test_serve_run_brings_up_the_same_service_and_finishes_what_was_left(own: Product) -> None:
    # Nobody waits where this test is run alone.
    waiting = IN_FLIGHT if own.data_dir.exists() else []
    with own.serve_run():
        own.await_ready()
        _wait(lambda: len(_answers(own)) == len(waiting), limit_s=60)
        text = own.say("what time do you open on saturday")
        assert "from 09:00 to 16:30" in text.stdout, text.stdout + text.stderr
        voice = own.say("--audio", str(NOTES / "where.ogg"))
        assert "heard: Where are you located?" in voice.stdout, voice.stdout + voice.stderr
        assert "27 Garden Lane" in voice.stdout
        assert _answers(own) == dict.fromkeys(waiting, 1)
    assert_nothing_left(own, limit_s=60)


def assert_nothing_left(product: Product, *, limit_s: float = 5) -> None:
    left = not product.all_gone(limit_s=limit_s)
    assert not left, [process.cmdline()[:4] for process in product.processes()]
    for port in (product.port, product.port + 1):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, f"port {port} is still taken"


def _answers(product: Product) -> dict[str, int]:
    """How many replies each got that waited, of those that were sent."""

    async def look() -> dict[str, int]:
        state = read_state(DataDir.at(Path(product.data_dir)))
        assert state is not None
        assert state.database_url is not None
        connection = await asyncpg.connect(state.database_url, timeout=10, command_timeout=10)
        try:
            rows = await connection.fetch(
                "SELECT recipient, count(*) FROM replies"
                " WHERE status = 'sent' AND recipient = ANY($1) GROUP BY recipient",
                IN_FLIGHT,
            )
        finally:
            await connection.close(timeout=5)
        return {row["recipient"]: row["count"] for row in rows}

    return asyncio.run(look())


def _wait(condition: Callable[[], bool], *, limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.2)
