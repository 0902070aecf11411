"""`recado doctor`: whether a production configuration keeps what the service promises."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from serve_app.cli.context import ConfigOption, DataDirOption, load_context
from serve_app.cli.terminal import console

if TYPE_CHECKING:
    from models.findings import Finding

_MARKS = {"ok": "[green]ok[/]", "warning": "[yellow]warning[/]", "failed": "[red]failed[/]"}


def doctor(
    account: Annotated[
        str | None, typer.Option(help="Look at this account only; all active ones otherwise.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Check stores, clocks, models, GPU, and each account at its provider: credentials, webhook
    addresses, and a signed request through the public address. Exit status 1 if something failed."""
    from serve_app.cli.examination import examine

    context = load_context(data_dir=data_dir, config=config)
    findings = asyncio.run(examine(context, account_id=account))
    if as_json:
        print(json.dumps([finding.model_dump() for finding in findings], indent=2))
    else:
        _show(findings)
    if any(finding.level == "failed" for finding in findings):
        raise typer.Exit(1)


def _show(findings: Sequence[Finding]) -> None:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for finding in findings:
        table.add_row(_MARKS[finding.level], finding.check, _plain(finding.text))
        if finding.action:
            table.add_row("", "", f"[bold]{_plain(finding.action)}[/]")
    console.print(table)
    counts = {level: sum(f.level == level for f in findings) for level in _MARKS}
    console.print(
        f"{counts['ok']} well, {counts['warning']} to look at, {counts['failed']} to mend."
    )


def _plain(text: str) -> str:
    return text.replace("[", r"\[")
