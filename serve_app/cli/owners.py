"""`recado owners`: who is answered for."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.table import Table

from models.conversations import ReplyStatus
from models.messages import DeliveryStatus
from serve_app.cli.administering import Desk, at_desk, edit_and_settle, propose, settle
from serve_app.cli.context import CommandError, ConfigOption, DataDirOption, load_context
from serve_app.cli.terminal import console

if TYPE_CHECKING:
    from models.accounts import Document, MonthlyUsage, Owner, TwilioAccount
    from models.conversations import DeliveryCount
    from serve_app.administration.service import Administration, Proposal

app = typer.Typer(help="Owners: the businesses that are answered for.", no_args_is_help=True)


@app.command("list")
def list_(data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """The owners with their plans and numbers."""

    async def work(desk: Desk) -> tuple[list[Owner], list[TwilioAccount]]:
        return await desk.stores.owners.list_all(), await desk.stores.accounts.list_all()

    owners, accounts = at_desk(load_context(data_dir=data_dir, config=config), work)
    if not owners:
        console.print("There are no owners: store one with `recado apply owner.yaml`.")
        return
    table = Table("id", "name", "plan", "language", "time zone", "numbers")
    for owner in owners:
        numbers = [
            number.address
            for account in accounts
            if account.owner_id == owner.id and account.active
            for number in account.phone_numbers
        ]
        plan = owner.plan.code + ("" if owner.plan.active else " (inactive)")
        cells = (owner.id, owner.name, plan, owner.language, owner.timezone, "\n".join(numbers))
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


@app.command()
def show(
    owner_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    as_yaml: Annotated[
        bool, typer.Option("--yaml", help="As a file for `recado apply`, without tokens.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """One owner: plan, usage, assistant and accounts."""
    from serve_app.administration.owner_file import write_assistant, write_owner

    async def work(
        desk: Desk,
    ) -> tuple[Owner, list[TwilioAccount], list[MonthlyUsage], list[Document], list[str]]:
        owner = await desk.administration.owner(owner_id)
        accounts = await desk.stores.accounts.list_all()
        months = await desk.stores.owners.usage(owner_id, months=1)
        mine = [a for a in accounts if a.owner_id == owner_id]
        documents = await desk.stores.documents.list_all(owner_id)
        return owner, mine, months, documents, await desk.stores.secrets.names(owner_id)

    owner, accounts, months, documents, secrets = at_desk(
        load_context(data_dir=data_dir, config=config), work
    )
    if as_yaml:
        typer.echo(write_owner(owner, accounts, documents), nl=False)
        return
    plan = owner.plan
    this_month = datetime.now(ZoneInfo(owner.timezone)).date().replace(day=1)
    used = next((each for each in months if each.month == this_month), None)
    turns, segments = (used.messages, used.sms_segments) if used else (0, 0)
    limit = "no limit" if plan.monthly_messages is None else f"of {plan.monthly_messages:,}"
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("id", owner.id),
        ("name", owner.name),
        ("time zone", owner.timezone),
        ("language", owner.language),
        ("plan", f"{plan.code}, {'active' if plan.active else 'inactive'}"),
        ("features", ", ".join(sorted(plan.features)) or "none"),
        ("turns this month", f"{turns:,} ({limit})"),
        ("SMS segments this month", f"{segments:,}"),
        ("retention", f"{owner.retention_days} days" if owner.retention_days else "kept"),
        ("documents", str(len(documents))),
        ("secrets", ", ".join(secrets) or "none"),
    ):
        table.add_row(f"[dim]{name}[/]", escape(value))
    console.print(table)
    if accounts:
        console.print(accounts_table(accounts))
    console.print("[bold]assistant[/]")
    console.print(write_assistant(owner.assistant), markup=False, end="", soft_wrap=True)


@app.command()
def create(
    owner_id: Annotated[str, typer.Argument(metavar="ID", help="Letters, digits, `.`, `_`, `-`.")],
    name: Annotated[str, typer.Option(help="The business's name.")],
    plan: Annotated[str, typer.Option(help="Its plan's code; a known one is taken as it is.")],
    timezone: Annotated[str, typer.Option(help="As in Europe/Lisbon.")] = "UTC",
    language: Annotated[str, typer.Option(help="As in en or pt-BR.")] = "en",
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Create an owner; `edit` or `assistant edit` says the rest, `accounts add` gives it a number."""
    from serve_app.administration.owner_file import check_owner

    file = check_owner(
        {
            "id": owner_id,
            "name": name,
            "timezone": timezone,
            "language": language,
            "plan": {"code": plan},
        }
    )
    context = load_context(data_dir=data_dir, config=config)
    settle(context, propose(context, lambda a: a.propose_new_owner(file)))


@app.command()
def edit(
    owner_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Apply without asking.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Edit an owner's file in $EDITOR: plan, assistant, documents and accounts, without tokens."""
    from serve_app.administration.owner_file import read_owner, write_owner

    context = load_context(data_dir=data_dir, config=config)

    async def work(desk: Desk) -> str:
        owner = await desk.administration.owner(owner_id)
        accounts = await desk.stores.accounts.list_all()
        documents = await desk.stores.documents.list_all(owner_id)
        return write_owner(owner, [a for a in accounts if a.owner_id == owner_id], documents)

    def proposing(text: str) -> Callable[[Administration], Awaitable[Proposal]]:
        file = read_owner(text)
        return lambda a: a.propose_owner(owner_id, file, environ=os.environ)

    edit_and_settle(context, at_desk(context, work), name=owner_id, proposing=proposing, yes=yes)


@app.command()
def figures(
    owner_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Only this owner's; everybody's by default.")
    ] = None,
    days: Annotated[float, typer.Option(help="How far to look back.", min=0.01)] = 7.0,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """What became of the replies: delivered, read, failed and why, with SMS segments."""
    since = datetime.now(UTC) - timedelta(days=days)

    async def work(desk: Desk) -> list[DeliveryCount]:
        if owner_id is not None:
            await desk.administration.owner(owner_id)
        return await desk.stores.replies.delivery_counts(since=since, owner_id=owner_id)

    counts = at_desk(load_context(data_dir=data_dir, config=config), work)
    if not counts:
        console.print("No replies in that time.")
        return
    columns = ("replies", "sent", "delivered", "read", "failed", "canceled", "open", "SMS segments")
    table = Table("owner", *columns)
    for owner in dict.fromkeys(count.owner_id for count in counts):
        sums = _sums([count for count in counts if count.owner_id == owner])
        table.add_row(escape(owner), *(f"{sums[column]:,}" for column in columns))
    console.print(table)
    codes = Counter[int]()
    for count in counts:
        if count.error_code is not None:
            codes[count.error_code] += count.replies
    for code, replies in codes.most_common(10):
        console.print(
            f"  {replies:,} x error {code}: https://www.twilio.com/docs/api/errors/{code}"
        )


def _sums(counts: list[DeliveryCount]) -> Counter[str]:
    """A reply that was read was delivered, and one that was delivered was sent."""
    sums = Counter[str]()
    for count in counts:
        names = ["replies"]
        status, delivery = count.status, count.delivery
        if status is ReplyStatus.SENT:
            names.append("sent")
            if delivery in (DeliveryStatus.DELIVERED, DeliveryStatus.READ):
                names.append("delivered")
            if delivery is DeliveryStatus.READ:
                names.append("read")
        elif status in (ReplyStatus.FAILED, ReplyStatus.CANCELED):
            names.append(status.value)
        else:
            names.append("open")
        for name in names:
            sums[name] += count.replies
        if status in (ReplyStatus.SENT, ReplyStatus.FAILED):
            sums["SMS segments"] += count.segments
    return sums


@app.command()
def usage(
    owner_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    months: Annotated[int, typer.Option(help="At most so many.", min=1)] = 12,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """What an owner used, by calendar month of its time zone."""

    async def work(desk: Desk) -> list[MonthlyUsage]:
        await desk.administration.owner(owner_id)
        return await desk.stores.owners.usage(owner_id, months=months)

    table = Table(
        "month", "turns answered", "audio", "prompt tokens", "completion tokens", "SMS segments"
    )
    for used in at_desk(load_context(data_dir=data_dir, config=config), work):
        table.add_row(
            f"{used.month:%Y-%m}",
            f"{used.messages:,}",
            f"{used.audio_seconds:,.0f} s",
            f"{used.prompt_tokens:,}",
            f"{used.completion_tokens:,}",
            f"{used.sms_segments:,}",
        )
    console.print(table)


@app.command()
def secret(
    owner_id: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")],
    name: Annotated[str, typer.Argument(help="As {secret:NAME} in a header, or `notify`.")],
    env: Annotated[
        str | None, typer.Option("--env", help="The variable that holds it; else it is asked for.")
    ] = None,
    forget: Annotated[bool, typer.Option("--forget", help="Remove it.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Store a secret for the owner's HTTP tools or notes, encrypted."""
    from pydantic import SecretStr

    value: SecretStr | None = None
    if not forget:
        text = os.environ.get(env, "") if env else typer.prompt("Secret", hide_input=True)
        if not text:
            raise CommandError("--env names a variable that isn't set.")
        value = SecretStr(text)

    async def work(desk: Desk) -> None:
        await desk.administration.owner(owner_id)
        await desk.stores.secrets.save(owner_id, name, value)

    at_desk(load_context(data_dir=data_dir, config=config), work)
    console.print("It is forgotten." if forget else "It is stored.")


def accounts_table(accounts: list[TwilioAccount]) -> Table:
    table = Table("account", "owner")
    services = any(account.messaging_service_sid for account in accounts)
    for column in ("AccountSid", "numbers", *(["messaging service"] if services else [])):
        table.add_column(column, overflow="fold")
    for column in ("tokens", "state"):
        table.add_column(column)
    for account in accounts:
        table.add_row(
            escape(account.id),
            escape(account.owner_id),
            account.account_sid,
            "\n".join(number.address for number in account.phone_numbers),
            *([account.messaging_service_sid or ""] if services else []),
            "primary" if account.secondary_token is None else "primary, secondary",
            "active" if account.active else "[yellow]inactive[/]",
        )
    return table
