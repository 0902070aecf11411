"""`recado conversations`: those that a person has taken over, and giving them back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from models.conversations import Conversation
from serve_app.cli.context import (
    CliContext,
    CommandError,
    ConfigOption,
    DataDirOption,
    load_context,
)
from serve_app.cli.deeds import by_command
from serve_app.cli.terminal import console

if TYPE_CHECKING:
    from serve_app.bootstrap import Stores

app = typer.Typer(help="Conversations that a person has taken over.", no_args_is_help=True)

WhichArgument = Annotated[
    str,
    typer.Argument(
        help="The contact's number or address, or the conversation's id, as `list` shows them."
    ),
]


@app.command("list")
def list_(
    count: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """The conversations in which the assistant is silent because a person answers."""
    context = load_context(data_dir=data_dir, config=config)
    taken = asyncio.run(_taken(context, count))
    if not taken:
        console.print("The assistant answers everywhere.")
        return
    table = Table("contact", "name", "business", "last message (UTC)", "id")
    for conversation in taken:
        last = conversation.last_inbound_at
        table.add_row(
            conversation.contact.address,
            conversation.contact.profile_name or "",
            conversation.owner_id,
            f"{last:%Y-%m-%d %H:%M}" if last else "",
            conversation.id,
        )
    console.print(table)


@app.command()
def take(which: WhichArgument, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Take a conversation over: the assistant is silent in it from now on."""
    context = load_context(data_dir=data_dir, config=config)
    if not asyncio.run(_take(context, which)):
        raise CommandError(f"Nobody of {which} has written.")
    console.print(f"The assistant is silent towards {which}; `give-back` ends that.")


@app.command("give-back")
def give_back(
    which: WhichArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Let the assistant answer again."""
    context = load_context(data_dir=data_dir, config=config)
    count = asyncio.run(_give_back(context, which))
    if not count:
        raise CommandError(f"No person has a conversation with {which}: see the list.")
    console.print(f"The assistant answers {which} again.")


async def _taken(context: CliContext, count: int) -> list[Conversation]:
    from serve_app.bootstrap import open_stores

    async with open_stores(context.settings, context.environment) as stores:
        return await stores.conversations.with_people(limit=count)


async def _take(context: CliContext, which: str) -> int:
    from serve_app.bootstrap import open_stores

    async with open_stores(context.settings, context.environment) as stores:
        found = await _ids_of(stores, which)
        changed = 0
        for each in found:
            async with by_command(stores.pool, "take over", each) as deed:
                taken = await stores.conversations.set_human(each, human=True)
                deed.outcome = "" if taken else "not done: there is none"
            changed += taken
        return changed


async def _give_back(context: CliContext, which: str) -> int:
    from serve_app.bootstrap import open_stores

    async with open_stores(context.settings, context.environment) as stores:
        conversations = stores.conversations
        taken = [
            each for each in await _ids_of(stores, which) if await conversations.is_human(each)
        ]
        for each in taken:
            async with by_command(stores.pool, "give back", each):
                await conversations.set_human(each, human=False)
        return len(taken)


async def _ids_of(stores: Stores, which: str) -> list[str]:
    """The conversations of whoever has that number, or the one with that id."""
    contacts = await stores.contacts.find(which)
    found = [each for c in contacts for each in await stores.contacts.conversation_ids(c.id)]
    return found or [which]
