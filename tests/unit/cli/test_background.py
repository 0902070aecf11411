"""Checks that take what the others leave."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import psutil

from serve_app.cli.background import Background

SAYS_ITS_NICENESS = "import os; print(os.getcwd(), os.nice(0), flush=True); raise SystemExit(3)"
SLEEPS = """
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path("child").write_text(str(child.pid))
time.sleep(60)
"""


def test_one_after_the_other_with_output_and_status(tmp_path: Path) -> None:
    commands = {
        "first": [sys.executable, "-c", SAYS_ITS_NICENESS],
        "gone": ["/no/such/program"],
        "last": [sys.executable, "-c", "import sys; sys.stderr.write('at last')"],
    }
    with Background(commands, folder=tmp_path) as background:
        done = {each.name: each for each in background.results()}
    assert list(done) == ["first", "gone", "last"]
    assert done["first"].status == 3
    folder, niceness = done["first"].output.split()
    assert Path(folder) == tmp_path
    assert int(niceness) >= 10
    assert done["gone"].status == 127
    assert (done["last"].status, done["last"].output) == (0, "at last")


def test_who_leaves_early_leaves_nothing_behind(tmp_path: Path) -> None:
    with Background({"long": [sys.executable, "-c", SLEEPS]}, folder=tmp_path):
        deadline = time.monotonic() + 20
        while not (tmp_path / "child").exists() or not (tmp_path / "child").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        child = psutil.Process(int((tmp_path / "child").read_text()))
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE
