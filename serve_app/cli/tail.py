"""`recado tail`: one conversation, message or correlation id through all stages."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, TextIO

import typer

from serve_app.cli.context import CommandError
from serve_app.cli.terminal import console
from serve_app.local.layout import DataDir
from serve_app.ops.log_trail import Columns, Trail, read_entries
from serve_app.settings import EnvironmentSettings

_POLL_S = 0.2


def tail(
    which: Annotated[
        str,
        typer.Argument(help="A conversation's id, a correlation id, a MessageSid or a reply's id."),
    ],
    follow: Annotated[
        bool, typer.Option(help="Go on until Ctrl-C; --no-follow shows what is there.")
    ] = True,
    log: Annotated[
        str | None, typer.Option(help="A file of JSON lines; `-` reads standard input.")
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="As given to `up`.")] = None,
) -> None:
    """Show every line of every process about one conversation or message, oldest first."""
    trail, columns, shown = Trail(which), Columns(), 0
    try:
        for entry in read_entries(_lines(log, data_dir, follow=follow)):
            for each in trail.feed(entry):
                console.print(columns.line(each), markup=False, soft_wrap=True)
                shown += 1
    except KeyboardInterrupt:
        return
    if not shown:
        raise CommandError(
            f"No line about {which} in this log. Ids are in the log itself and in `recado dead "
            "show`; phone numbers are masked there."
        )


def _lines(log: str | None, data_dir: Path | None, *, follow: bool) -> Iterator[str]:
    if log == "-":
        yield from sys.stdin
        return
    root = data_dir or EnvironmentSettings().data_dir
    path = Path(log) if log is not None else DataDir.at(root).logs / "recado.log"
    if not path.exists():
        raise CommandError(f"There is no log at {path}: say --data-dir or --log.")
    with ExitStack() as stack:
        older = path.with_suffix(".log.1")
        if log is None and older.exists():
            yield from stack.enter_context(older.open(encoding="utf-8", errors="replace"))
        file = stack.enter_context(path.open(encoding="utf-8", errors="replace"))
        yield from _read(file, path, follow=follow)


def _read(file: TextIO, path: Path, *, follow: bool) -> Iterator[str]:
    """Whole lines; a file that was replaced is read from its beginning."""
    rest = ""
    while True:
        read = file.read(65_536)
        *lines, rest = (rest + read).split("\n")
        yield from lines
        if read:
            continue
        if not follow:
            return
        time.sleep(_POLL_S)
        try:
            replaced = path.stat().st_ino != Path(f"/proc/self/fd/{file.fileno()}").stat().st_ino
        except OSError:
            continue
        if replaced:
            with path.open(encoding="utf-8", errors="replace") as fresh:
                yield from _read(fresh, path, follow=follow)
            return
