"""`recado test`: every check. What tells soonest comes first; what can wait takes what the others leave."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.background import Background
from serve_app.cli.terminal import console, fail
from serve_app.settings import PROJECT_ROOT

_BIN = Path(sys.executable).parent
_QUICK = {
    "ruff check": [str(_BIN / "ruff"), "check", "."],
    "ruff format": [str(_BIN / "ruff"), "format", "--check", "."],
    "import-linter": [str(_BIN / "lint-imports")],
}
_PYRIGHT = [str(_BIN / "pyright")]
_PYTEST = [sys.executable, "-m", "pytest"]
_PARTS = ("unit", "contract", "integration")
_PRODUCT = ("e2e", "faults")
_PATIENT = (
    "tests/integration/demo",
    "tests/integration/engines/test_check.py",
    "tests/integration/queue/test_model.py",
)
"""Long computations that don't look at a clock."""
_AT_ONCE = 4
"""Processes, each with stores of its own; more than there are processors, since tests wait a lot."""
_LANES = 2
"""Processes for what starts the product: more would starve each other."""


def test(
    context: typer.Context,
    *,
    faults: Annotated[
        bool,
        typer.Option(
            "--faults",
            help="Run the fault campaign instead; `--faults --list` names its rows, `--row NAME` runs one, "
            "`--scale small` shrinks it, `--seed N` repeats one, `--keep FOLDER` says where histories go.",
        ),
    ] = False,  # noqa: PT028 - a command, not a test
) -> None:
    """Run ruff, pyright, import-linter and pytest; arguments are passed on to pytest."""
    if faults:
        raise typer.Exit(_run([sys.executable, "-m", "tests.faults", *context.args]))
    results: dict[str, tuple[int, float]] = {}

    def run(commands: dict[str, list[str]]) -> None:
        for name, command in commands.items():
            console.rule(f"[bold]{name}")
            began = time.monotonic()
            results[name] = (_run(command), time.monotonic() - began)

    run(_QUICK)
    if context.args:
        run({"pyright": _PYRIGHT, "pytest": [*_PYTEST, *context.args]})
    else:
        patient = {"pyright": _PYRIGHT, "pytest patient": [*_PYTEST, *_PATIENT]}
        parts, product = _pytests()
        run(parts)
        # Tests of the product wait more than those of its parts.
        with Background(patient, folder=PROJECT_ROOT) as background:
            run(product)
            for done in background.results():
                console.rule(f"[bold]{done.name}")
                console.out(done.output, highlight=False)
                results[done.name] = (done.status, done.took_s)
    console.rule("[bold]summary")
    for name, (status, took_s) in results.items():
        mark = "[green]passed[/]" if status == 0 else f"[red]failed[/] (status {status})"
        console.print(f"  {name:<14} {mark} [dim]{took_s:.1f} s[/]")
    if any(status != 0 for status, _ in results.values()):
        raise typer.Exit(1)


def _pytests() -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Every test but the patient; what starts the product comes after the tests of its parts."""
    side_by_side = ["-n", str(_AT_ONCE), "--dist", "worksteal"]
    side_by_side += [f"--ignore={path}" for path in _PATIENT]
    lanes = ["-n", str(_LANES), "--dist", "loadgroup"]
    return (
        {"pytest parts": [*_PYTEST, *side_by_side, *(f"tests/{floor}" for floor in _PARTS)]},
        {"pytest product": [*_PYTEST, *lanes, *(f"tests/{floor}" for floor in _PRODUCT)]},
    )


def _run(command: list[str]) -> int:
    try:
        return subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode  # noqa: S603 - ours
    except FileNotFoundError:
        fail(f"{Path(command[0]).name} isn't installed: run `./recado test`.")
        return 127
