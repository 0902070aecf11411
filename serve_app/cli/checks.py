"""`recado test`: every check, in the order of how soon each tells."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.terminal import console, fail
from serve_app.settings import PROJECT_ROOT

_BIN = Path(sys.executable).parent
_PARTS = ("unit", "contract", "integration")
_PRODUCT = ("e2e", "faults")
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
    checks: dict[str, list[str]] = {
        "ruff check": [str(_BIN / "ruff"), "check", "."],
        "ruff format": [str(_BIN / "ruff"), "format", "--check", "."],
        "pyright": [str(_BIN / "pyright")],
        "import-linter": [str(_BIN / "lint-imports")],
        **_pytests(context.args),
    }
    results: dict[str, tuple[int, float]] = {}
    with _compiling():
        for name, command in checks.items():
            console.rule(f"[bold]{name}")
            began = time.monotonic()
            results[name] = (_run(command), time.monotonic() - began)
    console.rule("[bold]summary")
    for name, (status, took_s) in results.items():
        mark = "[green]passed[/]" if status == 0 else f"[red]failed[/] (status {status})"
        console.print(f"  {name:<14} {mark} [dim]{took_s:.1f} s[/]")
    if any(status != 0 for status, _ in results.values()):
        raise typer.Exit(1)


@contextmanager
def _compiling() -> Iterator[None]:
    """What has just been installed, on a processor that the type check leaves free: a moment where that was
    done before."""
    packages = sysconfig.get_path("purelib")
    compiling = subprocess.Popen(  # noqa: S603 - ours
        [sys.executable, "-m", "compileall", "-q", packages],
        # It tells of files that are for another Python.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        compiling.terminate()
        compiling.wait()


def _pytests(arguments: list[str]) -> dict[str, list[str]]:
    """Every test; what starts the product comes after the tests of its parts."""
    pytest = [sys.executable, "-m", "pytest"]
    if arguments:
        return {"pytest": [*pytest, *arguments]}
    side_by_side = ["-n", str(_AT_ONCE), "--dist", "worksteal"]
    lanes = ["-n", str(_LANES), "--dist", "loadgroup"]
    return {
        "pytest parts": [*pytest, *side_by_side, *(f"tests/{floor}" for floor in _PARTS)],
        "pytest product": [*pytest, *lanes, *(f"tests/{floor}" for floor in _PRODUCT)],
    }


def _run(command: list[str]) -> int:
    try:
        return subprocess.run(command, cwd=PROJECT_ROOT, check=False).returncode  # noqa: S603 - ours
    except FileNotFoundError:
        fail(f"{Path(command[0]).name} isn't installed: run `./recado test`.")
        return 127
