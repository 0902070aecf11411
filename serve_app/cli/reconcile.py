"""`recado reconcile`: asks the provider what arrived, and publishes what never arrived here."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
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
    from models.accounts import TwilioAccount
    from serve_app.delivery.reconciler import Reconciled

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN = re.compile(r"(\d{1,6})\s*([smhd])")


def reconcile(
    since: Annotated[str, typer.Option(help="How far to look back: 30m, 2h, 1d.")],
    account: Annotated[
        list[str] | None, typer.Option(help="Only this AccountSid; may be repeated.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Answer messages whose webhook never arrived. Run it after an outage; repeating it does no harm."""
    context = load_context(data_dir=data_dir, config=config)
    span = read_span(since)
    memory = timedelta(seconds=context.settings.queue.dedupe_ttl_s)
    if span > memory:
        raise CommandError(
            f"Accepted messages are remembered for {memory.total_seconds() / 3600:g} h"
            " (queue.dedupe_ttl_s): look back no further, or messages that you purged come back."
        )
    results = asyncio.run(_reconcile(context, span, set(account or ()), dry_run))
    table = Table("account", "found", "missing", "published", "")
    for result in results:
        table.add_row(
            result.account_sid,
            str(result.found),
            str(result.missing),
            "(dry run)" if dry_run else str(result.published),
            f"[red]{result.problem}[/]" if result.problem else "",
        )
    console.print(table)
    if any(result.problem for result in results):
        raise CommandError("Not everything was read: look back less far, or try again later.")


def read_span(text: str) -> timedelta:
    """`90s`, `30m`, `2h`, `1d`. Raises `CommandError`."""
    match = _SPAN.fullmatch(text.strip())
    if match is None:
        raise CommandError(f"{text} is no span of time: say 30m, 2h or 1d.")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


async def _reconcile(
    context: CliContext, span: timedelta, sids: set[str], dry_run: bool
) -> list[Reconciled]:
    from serve_app.bootstrap import open_delivery_tools

    async with open_delivery_tools(context.settings, context.environment) as tools:
        # Several businesses may share an account at the provider.
        accounts: dict[str, TwilioAccount] = {}
        for stored in await tools.stores.accounts.list_all():
            if stored.active:
                accounts.setdefault(stored.account_sid, stored)
        unknown = sids - accounts.keys()
        if unknown:
            raise CommandError(f"There is no active account {', '.join(sorted(unknown))}.")
        start = datetime.now(UTC) - span
        return [
            await tools.reconciler.reconcile(stored, since=start, dry_run=dry_run)
            for sid, stored in accounts.items()
            if not sids or sid in sids
        ]
