"""`recado assistant`: how an owner's assistant answers, and the facts that it knows."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from models.errors import RecadoError
from serve_app.cli.administering import Desk, at_desk, edit_in_editor, propose, settle
from serve_app.cli.context import CliContext, ConfigOption, DataDirOption, load_context
from serve_app.cli.terminal import console, fail

if TYPE_CHECKING:
    from models.accounts import Owner
    from serve_app.administration.service import Proposal

app = typer.Typer(help="Assistants: instructions, tools and facts.", no_args_is_help=True)

OwnerArgument = Annotated[
    str, typer.Argument(metavar="OWNER", help="As `recado owners list` shows it.")
]


@app.command()
def show(
    owner_id: OwnerArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Print the assistant as YAML."""
    from serve_app.administration.owner_file import write_assistant

    owner = _owner(load_context(data_dir=data_dir, config=config), owner_id)
    typer.echo(write_assistant(owner.assistant), nl=False)


@app.command()
def edit(
    owner_id: OwnerArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Apply without asking.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Edit the assistant in $EDITOR; what is wrong can be corrected before anything is saved."""
    from serve_app.administration.owner_file import write_assistant

    context = load_context(data_dir=data_dir, config=config)
    owner = _owner(context, owner_id)
    with tempfile.TemporaryDirectory(prefix="recado-") as folder:
        text: str | None = write_assistant(owner.assistant)
        proposal = None
        while proposal is None:
            text = edit_in_editor(text, Path(folder))
            if text is None:
                console.print("Nothing was changed.")
                return
            try:
                proposal = _proposal(context, owner, text)
            except RecadoError as error:
                if yes:
                    raise
                fail(str(error))
                if not typer.confirm("Edit again?", default=True):
                    raise typer.Exit(1) from error
    settle(context, proposal, ask=not yes)


@app.command("set")
def set_(
    owner_id: OwnerArgument,
    assignments: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...",
            help="As in language=es, 'facts.menu.flat white.price=3.90' or "
            "'facts.opening_hours.sunday=[10:00, 14:00]'; KEY= leaves a key out.",
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would change.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Set single values, all of them or none."""
    from serve_app.administration.assistant_paths import assign
    from serve_app.administration.owner_file import assistant_document, check_assistant

    context = load_context(data_dir=data_dir, config=config)
    owner = _owner(context, owner_id)
    document = assistant_document(owner.assistant)
    for assignment in assignments:
        assign(document, assignment)
    wanted = check_assistant(document)
    settle(context, propose(context, lambda a: a.propose_assistant(owner, wanted)), dry_run=dry_run)


def _proposal(context: CliContext, owner: Owner, text: str) -> Proposal:
    from serve_app.administration.owner_file import read_assistant

    wanted = read_assistant(text)
    return propose(context, lambda a: a.propose_assistant(owner, wanted))


def _owner(context: CliContext, owner_id: str) -> Owner:
    async def work(desk: Desk) -> Owner:
        return await desk.administration.owner(owner_id)

    return at_desk(context, work)
