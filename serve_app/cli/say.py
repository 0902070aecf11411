"""`recado say`: speak as a phone does, and wait for the reply."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from serve_app.cli.context import CommandError, ConfigOption, DataDirOption, load_context

if TYPE_CHECKING:
    from serve_app.cli.exchange import Exchange


class ChannelName(StrEnum):
    TWILIO = "twilio"
    WHATSAPP_CLOUD = "whatsapp_cloud"


DEFAULT_PHONES = {
    ChannelName.TWILIO: "whatsapp:+15550100001",
    ChannelName.WHATSAPP_CLOUD: "15550100001",
}
"""As each provider writes them."""


def say(
    text: Annotated[str, typer.Argument(help="What to write; may be empty with a file.")] = "",
    audio: Annotated[
        Path | None,
        typer.Option(help="A voice note: Ogg/Opus, MP3, M4A or WAV.", exists=True, dir_okay=False),
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(help="A picture; the text is its caption.", exists=True, dir_okay=False),
    ] = None,
    document: Annotated[
        Path | None, typer.Option(help="Any other file.", exists=True, dir_okay=False)
    ] = None,
    location: Annotated[
        str | None, typer.Option(metavar="LAT,LON", help="A place, as in 38.7169,-9.1399.")
    ] = None,
    button: Annotated[
        str | None, typer.Option(metavar="TEXT", help="A tap on a button of this title.")
    ] = None,
    contact: Annotated[
        str | None, typer.Option(metavar="NAME,PHONE", help="A contact card.")
    ] = None,
    phone: Annotated[
        str | None, typer.Option("--from", help="The phone that writes.", show_default=False)
    ] = None,
    channel: Annotated[
        ChannelName, typer.Option(help="The provider that it goes through.")
    ] = ChannelName.TWILIO,
    to: Annotated[str | None, typer.Option(help="The business's number.")] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the reply.", min=0.1)] = 60.0,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Send a message through the simulator and print the reply, with the time each step took."""
    from serve_app.cli.saying import Saying

    saying = Saying(
        text=text,
        audio=audio,
        files=tuple(file for file in (image, document) if file is not None),
        location=location,
        button=button,
        contact=contact,
    )
    if saying.is_empty:
        raise CommandError('Say something: recado say "what time do you open?" or --audio note.ogg')
    from serve_app.cli.exchange import exchange

    context = load_context(data_dir=data_dir, config=config)
    message = saying.message()
    came = asyncio.run(
        exchange(
            context,
            message,
            channel=channel.value,
            phone=phone or DEFAULT_PHONES[channel],
            to=to,
            timeout=timeout,
        )
    )
    _show(came, spoken=audio is not None, waited=timeout)
    if not came.replies:
        raise typer.Exit(1)


def _show(exchange: Exchange, *, spoken: bool, waited: float) -> None:
    console = Console(highlight=False)
    progress = exchange.progress
    if spoken and progress is not None and progress.transcript is not None:
        console.print(f"[dim]heard:[/] {progress.transcript or '(nothing)'}")
    if not exchange.replies:
        console.print(f"[red]No reply within {waited:g} s.[/] {exchange.whereabouts}")
        return
    for reply in exchange.replies:
        console.print(reply, markup=False)
    table = Table(box=None, show_header=False, pad_edge=False, style="dim")
    for step in progress.timings if progress else ():
        table.add_row(step.step, f"{step.seconds * 1000:,.0f} ms")
    table.add_row("in all", f"{exchange.seconds * 1000:,.0f} ms")
    console.print(table)
