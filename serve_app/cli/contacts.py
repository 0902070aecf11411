"""`recado contacts`: what is kept of one person, to be handed out or erased."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from serve_app.cli.context import (
    CliContext,
    CommandError,
    ConfigOption,
    DataDirOption,
    load_context,
)
from serve_app.cli.terminal import console

if TYPE_CHECKING:
    from models.conversations import Contact
    from serve_app.administration.privacy import ContactPrivacy
    from serve_app.bootstrap import Stores

T = TypeVar("T")

app = typer.Typer(help="Contacts: what is kept of one person.", no_args_is_help=True)

WhichArgument = Annotated[
    str, typer.Argument(metavar="CONTACT", help="A number (+15551234567), an address or an id.")
]
OwnerOption = Annotated[
    str | None, typer.Option("--owner", help="Only with this owner; left out, with all.")
]


@app.command()
def show(
    which: WhichArgument,
    owner: OwnerOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """The contact's profile with each owner."""

    async def work(stores: Stores, _: ContactPrivacy) -> list[Contact]:
        return await stores.contacts.find(which, owner_id=owner)

    found = _run(load_context(data_dir=data_dir, config=config), work)
    if not found:
        raise CommandError(f"Nobody of {which} has written.")
    table = Table("owner", "channel", "address", "name", "language", "time zone", "id")
    for contact in found:
        cells = (
            contact.owner_id,
            contact.channel,
            contact.address,
            contact.profile_name or "",
            contact.language or "",
            contact.timezone or "",
            contact.id,
        )
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


@app.command()
def export(
    which: WhichArgument,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where to; left out, standard output.")
    ] = None,
    owner: OwnerOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Everything that is kept of a contact, as JSON."""

    async def work(_: Stores, privacy: ContactPrivacy) -> dict[str, object]:
        return await privacy.export(which, owner_id=owner)

    document = _run(load_context(data_dir=data_dir, config=config), work)
    text = json.dumps(document, ensure_ascii=False, indent=2)
    if out is None:
        typer.echo(text)
        return
    out.write_text(text + "\n", "utf-8")
    console.print(f"Written to {escape(str(out))}.")


@app.command()
def erase(
    which: WhichArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Without asking.")] = False,
    owner: OwnerOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Erase everything that is kept of a contact, an opt-out included. There is no way back."""
    context = load_context(data_dir=data_dir, config=config)
    if not yes and not typer.confirm(f"Erase everything of {which}?", default=False):
        console.print("Nothing was erased.")
        return

    async def work(_: Stores, privacy: ContactPrivacy) -> tuple[int, dict[str, int]]:
        done = await privacy.erase(which, owner_id=owner)
        counts = {
            **dict(sorted(done.rows.items())),
            "waiting jobs": done.jobs,
            "dead letters": done.dead_letters,
        }
        return done.contacts, {name: count for name, count in counts.items() if count}

    contacts, counts = _run(context, work)
    if not contacts and not counts:
        raise CommandError(f"Nothing is kept of {which}.")
    said = ", ".join(f"{count} {name}" for name, count in counts.items())
    console.print(f"Erased: {said}.")


def _run(context: CliContext, work: Callable[[Stores, ContactPrivacy], Awaitable[T]]) -> T:
    from serve_app.bootstrap import compose_privacy, open_stores

    async def main() -> T:
        async with open_stores(context.settings, context.environment) as stores:
            return await work(stores, compose_privacy(context.settings, stores))

    return asyncio.run(main())
