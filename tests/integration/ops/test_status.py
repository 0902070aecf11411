"""`recado status` of a service elsewhere: its address and its stores are told by the environment."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from typer.testing import CliRunner, Result

from serve_app.cli.app import app

WELL = {"status": "ready", "parts": {"redis": "ok", "worker": "ok"}}


class Service:
    """Answers `/healthz/ready` and nothing else."""

    def __init__(self) -> None:
        self.status, self.document = 200, WELL
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ready = self.path == "/healthz/ready"
                self.send_response(service.status if ready else 404)
                self.end_headers()
                self.wfile.write(json.dumps(service.document).encode() if ready else b"")

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    running = Service()
    yield running
    running.stop()


def status(tmp_path: Path, *options: str, **variables: str) -> Result:
    named = {f"RECADO_{name.upper()}": value for name, value in variables.items()}
    return CliRunner().invoke(
        app,
        ["status", *options, "--data-dir", str(tmp_path)],
        env={"RECADO_DATA_DIR": str(tmp_path), "COLUMNS": "160", **named},
    )


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATA_DIR", "PUBLIC_URL", "REDIS_URL", "DATABASE_URL", "SECRET_KEY"):
        # Set first, so that what the command itself sets is taken back too.
        monkeypatch.setenv(f"RECADO_{name}", "")
        monkeypatch.delenv(f"RECADO_{name}")


@pytest.mark.integration
def test_address_and_stores_of_the_environment(
    service: Service, valkey_url: str, database_url: str, tmp_path: Path
) -> None:
    done = status(
        tmp_path,
        "--json",
        public_url=service.url + "/",
        redis_url=valkey_url,
        database_url=database_url,
        secret_key=Fernet.generate_key().decode(),
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.output)
    assert (found["running"], found["ready"], found["url"]) == (True, True, service.url)
    assert {queue["queue"] for queue in found["queues"]} == {"inbound", "outbound", "status"}
    assert found["problems"] == []


def test_an_address_alone_is_looked_at_and_what_is_missing_is_said(
    service: Service, tmp_path: Path
) -> None:
    done = status(tmp_path, "--url", service.url)
    assert done.exit_code == 0, done.output
    assert "healthy" in done.output
    assert "RECADO_" in done.output
    assert "isn't running" not in done.output
    assert "local stores" not in done.output


def test_a_service_that_is_not_ready_names_the_part(service: Service, tmp_path: Path) -> None:
    service.status = 503
    service.document = {"status": "not ready", "parts": {"redis": "gone", "worker": "ok"}}
    done = status(tmp_path, "--url", service.url, "--json")
    found = json.loads(done.output)
    assert (done.exit_code, found["running"], found["healthy"]) == (1, True, False)
    assert found["problems"][0]["what"] == "redis: gone"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "not an address"])
def test_a_service_that_does_not_answer(tmp_path: Path, url: str) -> None:
    done = status(tmp_path, "--url", url)
    assert done.exit_code == 1
    assert f"the service doesn't answer at {url}" in done.output


def test_where_nobody_says_what_runs(tmp_path: Path) -> None:
    done = status(tmp_path)
    assert done.exit_code == 1
    assert "not running" in done.output
    assert "RECADO_PUBLIC_URL" in done.output
    assert json.loads(status(tmp_path, "--json").output) == {"running": False, "healthy": False}
