"""The product as a user runs it: its own commands, in a data directory and on ports of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import psutil
import yaml

from serve_app.settings import PROJECT_ROOT

NOTES = PROJECT_ROOT / "demo" / "voice-notes"
NUMBER = "whatsapp:+15550142700"
_LANES, _PORTS_OF_A_LANE = 2, 4_000


def free_port_block() -> int:
    """A port with room for the others that are derived from it; of tests that run side by side, each
    process has a range of its own."""
    lane = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _LANES
    first = 21_000 + lane * _PORTS_OF_A_LANE
    for port in range(first, first + _PORTS_OF_A_LANE, 1_000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    raise RuntimeError("no free port")


def write_config(path: Path, *, port: int, args: dict[str, Any]) -> Path:
    """The shipped configuration with `args` of the application changed."""
    config = yaml.safe_load((PROJECT_ROOT / "config.yaml").read_text())
    config["http_options"]["port"] = port
    # A raylet that joins on this machine has no ports of its own.
    config["proxy_location"] = "HeadOnly"
    application = config["applications"][0]
    for section, values in args.items():
        application["args"].setdefault(section, {}).update(values)
    path.write_text(yaml.safe_dump(config))
    return path


class Product:
    def __init__(self, *, folder: Path, port: int, config: Path) -> None:
        self.data_dir = folder / "data"
        self.port = port
        self.config = config
        self.url = f"http://127.0.0.1:{port}"
        self.extra: dict[str, str] = {}
        """Further variables of the environment."""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECADO_")}
        return {**kept, "RECADO_DATA_DIR": str(self.data_dir), "COLUMNS": "200", **self.extra}

    def recado(self, *args: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "serve_app.cli", *args],
            cwd=PROJECT_ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        options = ("--port", str(self.port), "--config", str(self.config))
        return self.recado("up", "--detach", *options, timeout=240)

    @contextmanager
    def up_in_front(self) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
        """`recado up` without `--detach`, and the file that its terminal is."""
        output = self.data_dir.parent / "up.log"
        options = ("--port", str(self.port), "--config", str(self.config))
        with output.open("wb") as terminal:
            process = subprocess.Popen(
                [sys.executable, "-m", "serve_app.cli", "up", *options],
                cwd=PROJECT_ROOT,
                env={**self.environment, "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=terminal,
                stderr=terminal,
            )
        try:
            yield process, output
        finally:
            if process.poll() is None:
                self.down()
            process.kill()
            process.wait(10)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self.recado("down", timeout=120)

    def say(self, *args: str, phone: str | None = None) -> subprocess.CompletedProcess[str]:
        sender = ("--from", phone) if phone else ()
        return self.recado("say", *args, *sender, "--config", str(self.config))

    @property
    def simulator(self) -> httpx2.Client:
        services = json.loads((self.data_dir / "services.json").read_text())
        return httpx2.Client(base_url=services["simulator_url"], timeout=70, trust_env=False)

    def processes(self) -> list[psutil.Process]:
        """Everything that belongs to this installation, found by its environment."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("RECADO_DATA_DIR") == str(self.data_dir):
                    found.append(process)
            except (psutil.AccessDenied, psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return found

    def all_gone(self, *, limit_s: float = 5) -> bool:
        """Whether no process is left, HAProxy's included: what was told to end may take a moment."""
        deadline = time.monotonic() + limit_s
        while self.processes():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def replica(self, deployment: str) -> psutil.Process:
        """Ray names its replicas' processes."""
        title = f"ray::ServeReplica:recado:{deployment}"
        return next(p for p in self.processes() if title in " ".join(p.cmdline()))

    @contextmanager
    def serve_run(self) -> Iterator[subprocess.Popen[bytes]]:
        """`serve run config.yaml`, as written in the README, stopped with Ctrl-C."""
        log = (self.data_dir.parent / "serve-run.log").open("wb")
        process = subprocess.Popen(
            [str(Path(sys.executable).parent / "serve"), "run", str(self.config)],
            cwd=PROJECT_ROOT,
            # A cluster of its own, even where another one runs on this machine.
            env={**self.environment, "RAY_ADDRESS": "local"},
            stdout=log,
            stderr=log,
            # Whoever runs the tests in the background has Ctrl-C ignored, and so would the child.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(90)
            finally:
                process.kill()
                process.wait(10)
                log.close()

    def await_ready(self, *, timeout_s: float = 120) -> None:
        deadline = time.monotonic() + timeout_s
        answer = "nothing"
        while time.monotonic() < deadline:
            try:
                response = httpx2.get(f"{self.url}/healthz/ready", timeout=5, trust_env=False)
                answer = f"{response.status_code} {response.text}"
                if response.status_code == 200:
                    return
            except httpx2.HTTPError as error:
                answer = repr(error)
            time.sleep(0.3)
        raise AssertionError(f"not ready after {timeout_s} s: {answer}")


def write(client: httpx2.Client, phone: str, body: str, **more: object) -> None:
    message = {"from": phone, "to": NUMBER, "body": body, **more}
    response = client.post("/simulator/messages", json=message)
    assert response.json()["webhook_status"] == 200, response.text


def replies(client: httpx2.Client, phone: str) -> list[dict[str, Any]]:
    page = client.get("/simulator/messages", params={"contact": phone}).json()
    return [message for message in page["messages"] if message["direction"] != "inbound"]


def await_replies(
    client: httpx2.Client, phone: str, count: int = 1, *, timeout_s: float = 60
) -> list[str]:
    deadline = time.monotonic() + timeout_s
    while len(found := replies(client, phone)) < count:
        assert time.monotonic() < deadline, f"{phone} got {len(found)} of {count} replies"
        time.sleep(0.1)
    return [message["body"] for message in found]
