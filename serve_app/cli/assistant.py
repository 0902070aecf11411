"""`recado assistant`: how an owner's assistant answers, and the facts that it knows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from serve_app.cli.administering import Desk, at_desk, edit_and_settle, propose, settle
from serve_app.cli.context import CliContext, ConfigOption, DataDirOption, load_context

if TYPE_CHECKING:
    from models.accounts import Owner
    from serve_app.administration.service import Administration, Proposal

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
    from serve_app.administration.owner_file import read_assistant, write_assistant

    context = load_context(data_dir=data_dir, config=config)
    owner = _owner(context, owner_id)

    def proposing(text: str) -> Callable[[Administration], Awaitable[Proposal]]:
        wanted = read_assistant(text)
        return lambda a: a.propose_assistant(owner, wanted)

    text = write_assistant(owner.assistant)
    edit_and_settle(context, text, name="assistant", proposing=proposing, yes=yes)


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


def _owner(context: CliContext, owner_id: str) -> Owner:
    async def work(desk: Desk) -> Owner:
        return await desk.administration.owner(owner_id)

    return at_desk(context, work)
