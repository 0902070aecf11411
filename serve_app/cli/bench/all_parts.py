"""`recado bench all`: every benchmark in a process of its own, one report of them all."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from serve_app.cli.bench.machine import describe_machine
from serve_app.cli.bench.rounds import load_average
from serve_app.cli.bench.sizes import LIMIT_S, PLOTTED, QUICK, QUICK_LIMIT_S, QUICK_TOTAL_S
from serve_app.cli.bench.targets import compare

ENDING_S = 150.0
"""How long a part that took too long may take to stop what it started."""
SHORTEST_PART_S = 10.0

_REPORT = re.compile(r"^\{", re.MULTILINE)

Tell = Callable[[str, Mapping[str, Any]], None]


def run_all(*, quick: bool, plots: Path | None, tell: Tell) -> dict[str, object]:
    """Runs the parts one after the other and tells of each as it ends: `seconds`, and `report` or `error`,
    or both where a part has a report and still isn't content with it. A part that fails doesn't stop the
    others."""
    began = time.monotonic()
    load = load_average()
    parts: dict[str, dict[str, Any]] = {}
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
    for name in QUICK:
        options = ["--json"] + ["--quick"] * quick
        if plots is not None and name in PLOTTED:
            options += ["--plot", str(plots.resolve() / f"{name}.svg")]
        command = [sys.executable, "-m", "serve_app.cli", "bench", name, *options]
        # A sweep for a plot is several measurements more.
        limit_s = LIMIT_S
        if quick and plots is None:
            limit_s = part_limit_s(began + QUICK_TOTAL_S - time.monotonic())
        if limit_s:
            parts[name] = run_part(command, limit_s=limit_s)
        else:
            parts[name] = {"seconds": 0.0, "error": f"left out: {QUICK_TOTAL_S:g} s are over"}
        tell(name, parts[name])
    reports = {name: part["report"] for name, part in parts.items() if "report" in part}
    return {
        "machine": {**describe_machine("ray", "torch"), "load average before": load},
        "quick": quick,
        "seconds": round(time.monotonic() - began, 1),
        "failed": [name for name, part in parts.items() if "error" in part],
        "targets": compare(reports),
        "parts": parts,
    }


def part_limit_s(left_s: float) -> float:
    """Of a quick part, when so much of the time for all of them is left; 0 if it isn't worth a start."""
    return min(QUICK_LIMIT_S, left_s) if left_s >= SHORTEST_PART_S else 0.0


def run_part(command: list[str], *, limit_s: float) -> dict[str, Any]:
    """A process each: what one leaves behind (threads, models, memory) mustn't slow down the next."""
    began = time.monotonic()
    process = subprocess.Popen(  # noqa: S603 -- our own command
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    late = False
    try:
        out, err = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired:
        late = True
        out, err = _end(process)
    except BaseException:
        _end(process)
        raise
    told: dict[str, Any] = {"seconds": round(time.monotonic() - began, 1)}
    report = _parse(out)
    if report is not None:
        told["report"] = report
    if late:
        told["error"] = f"not done within {limit_s:g} s"
    elif process.returncode != 0 or report is None:
        problems = "; ".join((report or {}).get("problems", ()))
        last = (err.strip().splitlines() or [f"ended with status {process.returncode}"])[-1]
        told["error"] = problems or last[:600]
    return told


def _end(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Lets it stop its servers first."""
    process.terminate()
    try:
        return process.communicate(timeout=ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()


def _parse(text: str) -> dict[str, Any] | None:
    # Logs may come before it.
    start = _REPORT.search(text)
    if start is None:
        return None
    try:
        return cast("dict[str, Any]", json.loads(text[start.start() :]))
    except ValueError:
        return None
