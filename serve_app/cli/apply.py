"""`recado apply`: an owner with everything that belongs to it, from its file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from serve_app.cli.administering import propose, settle
from serve_app.cli.context import ConfigOption, DataDirOption, load_context


def apply(
    file: Annotated[Path, typer.Argument(help="One owner's YAML file: see docs/owners.md.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Make what is stored match an owner's file; a running service follows by itself."""
    from serve_app.administration.owner_file import read_owner_file

    wanted = read_owner_file(file)
    context = load_context(data_dir=data_dir, config=config)
    proposal = propose(
        context, lambda a: a.propose_file(wanted, environ=os.environ, folder=file.parent)
    )
    settle(context, proposal, dry_run=dry_run)
