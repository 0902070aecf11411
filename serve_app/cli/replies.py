"""`recado replies`: replies that the service gave up on, to be sent again or dropped."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.markup import escape
from rich.table import Table

from models.conversations import Reply, ReplyStatus
from models.errors import ListUnavailableError
from serve_app.cli.context import CommandError, ConfigOption, DataDirOption, load_context
from serve_app.cli.deeds import by_command
from serve_app.cli.terminal import console
from serve_app.ops.redaction import mask_phone_numbers

if TYPE_CHECKING:
    from serve_app.bootstrap.delivery import DeliveryTools
    from serve_app.ports import ReplyRepository

app = typer.Typer(
    help="Replies in doubt, parked for a person, or refused by the provider.", no_args_is_help=True
)

T = TypeVar("T")

TEXT_CHARS = 60

IdArgument = Annotated[str, typer.Argument(help="As `recado replies list` shows it.")]
ParkedOption = Annotated[
    bool, typer.Option("--parked", help="Those that may have been sent, for a person to decide.")
]
FailedOption = Annotated[
    bool, typer.Option("--failed", help="Those that the provider refused or couldn't deliver.")
]
FullOption = Annotated[bool, typer.Option("--full", help="Whole numbers and texts.")]


@app.command("list")
def list_(
    parked: ParkedOption = False,
    doubtful: Annotated[
        bool, typer.Option("--doubtful", help="Those that the service is still looking into.")
    ] = False,
    failed: FailedOption = False,
    full: FullOption = False,
    count: Annotated[int, typer.Option(help="At most so many.", min=1)] = 100,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """All three kinds unless one is asked for; the one that is longest so first."""
    wanted = {
        ReplyStatus.PARKED: parked,
        ReplyStatus.UNKNOWN: doubtful,
        ReplyStatus.FAILED: failed,
    }
    states = [state for state, asked in wanted.items() if asked] or list(wanted)

    async def work(tools: DeliveryTools) -> list[Reply]:
        return await tools.stores.replies.in_states(states, limit=count)

    found = _run(work, data_dir, config)
    if not found:
        console.print("None.")
        return
    table = Table("id", "state", "since (UTC)", "contact", "text", "why")
    for reply in found:
        table.add_row(
            reply.id,
            reply.status.value,
            _time(reply.changed_at),
            escape(_contact(reply, full)),
            escape(reply.body if full else _short(reply.body)),
            escape(_why(reply)),
        )
    console.print(table)


@app.command()
def show(
    reply_id: IdArgument,
    full: FullOption = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """One reply with all that is known of it."""

    async def work(tools: DeliveryTools) -> Reply | None:
        return await tools.stores.replies.get(reply_id)

    reply = _run(work, data_dir, config)
    if reply is None:
        raise CommandError(f"There is no reply {reply_id}.")
    facts = {
        "reply": reply.id,
        "state": f"{reply.status.value} since {_time(reply.changed_at)}",
        "why": _why(reply),
        "to": _contact(reply, full),
        "from": reply.sender,
        "account": reply.account_sid,
        "turn": f"{reply.turn_id}, part {reply.position + 1}",
        "last tried": _time(reply.sending_since),
        "provider's id": reply.provider_message_id or "",
        "delivery": reply.delivery.value if reply.delivery else "",
        **reply.trace,
    }
    for name, value in facts.items():
        if value:
            console.print(f"{name:>15}  {escape(value)}", soft_wrap=True)
    console.print()
    console.print(reply.body, markup=False, soft_wrap=True)


@app.command()
def resend(
    reply_id: Annotated[
        str | None, typer.Argument(help="As `recado replies list` shows it.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every parked one (or --failed).")] = False,
    failed: FailedOption = False,
    blindly: Annotated[
        bool,
        typer.Option("--blindly", help="Don't look first whether the provider sent it already."),
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a reply again. One that may have been sent is looked for in the provider's list first."""
    if (reply_id is None) == (not every):
        raise CommandError("Name one reply, or say --all.")
    state = ReplyStatus.FAILED if failed else ReplyStatus.PARKED
    action = "resend blindly" if blindly else "resend"

    async def work(tools: DeliveryTools) -> Counter[str]:
        replies = tools.stores.replies
        chosen = (
            await replies.in_states([state], limit=100_000)
            if reply_id is None
            else [await _existing(replies, reply_id)]
        )
        done: Counter[str] = Counter()
        for reply in chosen:
            try:
                async with by_command(tools.stores.pool, action, f"reply {reply.id}") as deed:
                    decision = await tools.attention.resend(reply, blindly=blindly)
                    deed.outcome = decision.value
                done[decision.value] += 1
            except ListUnavailableError as error:
                raise CommandError(
                    f"Whether {reply.id} was sent can't be seen now ({error}). Nothing was sent; try"
                    f" later, or say --blindly. Before it: {_told(done)}."
                ) from error
        return done

    _tell(_run(work, data_dir, config), reply_id)


@app.command()
def drop(
    reply_id: IdArgument,
    why: Annotated[str, typer.Option(help="Kept with the reply.")] = "dropped by a person",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Never send a reply."""

    async def work(tools: DeliveryTools) -> Counter[str]:
        reply = await _existing(tools.stores.replies, reply_id)
        async with by_command(tools.stores.pool, "drop", f"reply {reply.id}", why) as deed:
            decision = await tools.attention.drop(reply, why=why)
            deed.outcome = decision.value
        return Counter([decision.value])

    _tell(_run(work, data_dir, config), reply_id)


def _run(
    work: Callable[[DeliveryTools], Awaitable[T]],
    data_dir: Path | None,
    config: Path | None,
) -> T:
    from serve_app.bootstrap import open_delivery_tools

    context = load_context(data_dir=data_dir, config=config)

    async def main() -> T:
        async with open_delivery_tools(context.settings, context.environment) as tools:
            return await work(tools)

    return asyncio.run(main())


async def _existing(replies: ReplyRepository, reply_id: str) -> Reply:
    reply = await replies.get(reply_id)
    if reply is None:
        raise CommandError(f"There is no reply {reply_id}.")
    return reply


def _tell(done: Counter[str], reply_id: str | None) -> None:
    if reply_id is not None and done["refused"]:
        raise CommandError(
            f"{reply_id} is in a state in which that can't be done: see `recado replies show`."
        )
    console.print(f"{_told(done)}.".capitalize())


def _told(done: Counter[str]) -> str:
    return ", ".join(f"{count} {what}" for what, count in done.items()) or "nothing to do"


def _contact(reply: Reply, full: bool) -> str:
    return reply.recipient if full else mask_phone_numbers(reply.recipient)


def _why(reply: Reply) -> str:
    code = f"{reply.error_code}: " if reply.error_code else ""
    return mask_phone_numbers(code + (reply.error_message or ""))


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= TEXT_CHARS else line[: TEXT_CHARS - 1] + "…"


def _time(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else ""
