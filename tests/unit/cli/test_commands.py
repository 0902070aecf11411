"""The command itself, up to where it would start something."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serve_app.settings import PROJECT_ROOT


def _recado(*args: str, data_dir: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("RECADO_")}
    return subprocess.run(
        [sys.executable, "-m", "serve_app.cli", *args],
        cwd=PROJECT_ROOT,
        env={**environment, "RECADO_DATA_DIR": str(data_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def _assert_one_line(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("recado: ")
    for part in parts:
        assert part in line


def test_a_taken_port(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = str(listener.getsockname()[1])
        done = _recado("up", "--detach", "--port", port, data_dir=tmp_path)
    _assert_one_line(done, f"Port {port} is taken", "--port")


def test_a_data_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = _recado("up", "--detach", data_dir=tmp_path / "file" / "data")
    _assert_one_line(done, "can't be written", "--data-dir")


def test_an_unknown_key_in_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "applications: [{name: recado, import_path: 'serve_app.app:build', args: {quue: 1}}]"
    )
    done = _recado("up", "--detach", "--config", str(config), data_dir=tmp_path / "data")
    _assert_one_line(done, "args.quue: unknown key", str(config))
    assert not (tmp_path / "data").exists()


def test_a_missing_configuration(tmp_path: Path) -> None:
    done = _recado("up", "--config", str(tmp_path / "none.yaml"), data_dir=tmp_path)
    _assert_one_line(done, "doesn't exist", "--config")


def test_down_where_nothing_runs(tmp_path: Path) -> None:
    done = _recado("down", data_dir=tmp_path)
    assert done.returncode == 0
    assert "Nothing runs" in done.stdout


def test_status_where_nothing_runs(tmp_path: Path) -> None:
    done = _recado("status", data_dir=tmp_path)
    assert done.returncode == 1
    assert "not running" in done.stdout


@pytest.mark.parametrize("command", ["up", "down", "status", "test"])
def test_help_names_the_command_and_imports_nothing_heavy(command: str, tmp_path: Path) -> None:
    began = time.monotonic()
    done = _recado(command, "--help", data_dir=tmp_path)
    assert time.monotonic() - began < 5.0
    assert done.returncode == 0
    assert command in done.stdout


def test_nothing_heavy_is_imported_for_the_command_line() -> None:
    script = (
        "import serve_app.cli.app, sys;"
        "print([m for m in ('ray','torch','transformers','fastapi','redis','asyncpg') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PROJECT_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
