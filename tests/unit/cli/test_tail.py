"""`recado tail` over files that end, grow and are replaced."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from serve_app.cli.app import app
from serve_app.cli.tail import _read


def line(event: str, correlation_id: str = "c1") -> str:
    return json.dumps({"event": event, "correlation_id": correlation_id, "service": "worker"})


def test_the_log_before_the_last_start_is_read_too(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    (logs / "recado.log.1").write_text(line("before") + "\n")
    (logs / "recado.log").write_text(line("after") + "\n" + line("other", "c2") + "\n")
    done = CliRunner().invoke(app, ["tail", "c1", "--no-follow", "--data-dir", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output.index("before") < done.output.index("after")
    assert "other" not in done.output


def test_standard_input(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["tail", "c1", "--log", "-"], input=line("piped") + "\n")
    assert "piped" in done.output


@pytest.mark.timeout(20)
def test_a_log_that_grows_and_is_replaced_is_followed(tmp_path: Path) -> None:
    path = tmp_path / "recado.log"
    path.write_text("one\n")
    with path.open() as file:
        lines = _read(file, path, follow=True)
        assert next(lines) == "one"
        with path.open("a") as more:
            more.write("two\nthr")
        assert next(lines) == "two"
        path.rename(tmp_path / "recado.log.1")
        path.write_text("anew\n")
        assert next(lines) == "anew"
        lines.close()
