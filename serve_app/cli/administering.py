"""What the commands that change owners, accounts and assistants share."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from models.errors import RecadoError
from serve_app.cli.context import CliContext, CommandError
from serve_app.cli.terminal import console, fail

if TYPE_CHECKING:
    from pydantic import SecretStr

    from serve_app.administration.service import Administration, Proposal
    from serve_app.bootstrap import Stores

T = TypeVar("T")


@dataclass(frozen=True)
class Desk:
    """The stores, and who changes them."""

    stores: Stores
    administration: Administration


def at_desk(context: CliContext, work: Callable[[Desk], Awaitable[T]]) -> T:
    """Run `work` with the stores open; a new database gets its schema first."""
    from serve_app.administration.service import Administration
    from serve_app.bootstrap import open_stores
    from serve_app.conversation.catalogue import TextCatalogue
    from serve_app.conversation.installed_tools import installed_tools
    from serve_app.local.environment import required
    from serve_app.store.migrate import migrate

    async def main() -> T:
        url = required(context.environment.database_url, "DATABASE_URL").get_secret_value()
        await migrate(url, context.settings.store)
        async with open_stores(context.settings, context.environment) as stores:
            administration = Administration(
                owners=stores.owners,
                accounts=stores.accounts,
                documents=stores.documents,
                secrets=stores.secrets,
                known_tools=installed_tools(context.settings.conversation, stores.owners).names,
                known_texts=TextCatalogue.load().keys,
                hosts=context.settings.outside.hosts,
                local_origins=context.settings.outside.local_origins,
                one_model=context.settings.chat.engine == "transformers",
            )
            return await work(Desk(stores, administration))

    return asyncio.run(main())


def propose(
    context: CliContext, proposing: Callable[[Administration], Awaitable[Proposal]]
) -> Proposal:
    async def work(desk: Desk) -> Proposal:
        return await proposing(desk.administration)

    return at_desk(context, work)


def settle(
    context: CliContext, proposal: Proposal, *, dry_run: bool = False, ask: bool = False
) -> None:
    """Show what would change, and change it unless it is a dry run or the answer is no."""
    show(proposal)
    if not proposal.changes:
        console.print("Nothing to change.")
        return
    if dry_run:
        console.print("Nothing was changed: this was a dry run.")
        return
    if ask and not typer.confirm("Apply?", default=True):
        console.print("Nothing was changed.")
        return

    async def work(desk: Desk) -> None:
        await desk.administration.apply(proposal)

    at_desk(context, work)
    count = len(proposal.changes)
    console.print(f"Applied {count} change{'' if count == 1 else 's'}.")


def show(proposal: Proposal) -> None:
    if proposal.changes:
        table = Table("field", "old", "new")
        for change in proposal.changes:
            table.add_row(escape(change.field), _cell(change.old), _cell(change.new))
        console.print(table)
    for note in proposal.notes:
        console.print(f"[yellow]•[/] {escape(note)}", soft_wrap=True)


def ask_token(variable: str | None, *, prompt: str) -> SecretStr:
    """From the variable named, or typed without being shown. Raises `CommandError`."""
    from serve_app.administration.account_rules import as_token

    if variable is None:
        return as_token(typer.prompt(prompt, hide_input=True), where="what was typed")
    value = os.environ.get(variable)
    if not value:
        # It isn't repeated: it may be the token, put in the wrong place.
        raise CommandError("--token-env names a variable that isn't set.")
    return as_token(value, where="the variable of --token-env")


def edit_and_settle(
    context: CliContext,
    text: str,
    *,
    name: str,
    proposing: Callable[[str], Callable[[Administration], Awaitable[Proposal]]],
    yes: bool,
) -> None:
    """Edit `text` until it can be applied, then show what changes and ask. `name` is what the editor shows;
    with `yes` nothing is asked, and a mistake ends it."""
    proposal = None
    edited: str | None = text
    with tempfile.TemporaryDirectory(prefix="recado-") as folder:
        while proposal is None:
            edited = edit_in_editor(edited, Path(folder) / f"{name}.yaml")
            if edited is None:
                console.print("Nothing was changed.")
                return
            try:
                proposal = propose(context, proposing(edited))
            except RecadoError as error:
                if yes:
                    raise
                fail(str(error))
                if not typer.confirm("Edit again?", default=True):
                    raise typer.Exit(1) from error
    settle(context, proposal, ask=not yes)


def edit_in_editor(text: str, path: Path) -> str | None:
    """The text as the operator left it; None if it wasn't saved. $VISUAL, then $EDITOR, says which.

    Raises `CommandError` if there is no editor or it fails.
    """
    import click

    path.write_text(text, "utf-8")
    before = path.stat().st_mtime_ns
    try:
        click.edit(filename=str(path))
    except click.ClickException as error:
        raise CommandError(f"The editor failed: {error.format_message()}") from error
    edited = path.read_text("utf-8")
    return None if edited == text and path.stat().st_mtime_ns == before else edited


def _cell(value: str | None) -> str:
    return "[dim]-[/]" if value is None else escape(value)
