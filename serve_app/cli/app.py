"""Puts the commands together: one module per command or group of commands."""

from __future__ import annotations

import sys

import structlog
import typer

from models.errors import RecadoError
from serve_app.cli import (
    accounts,
    apply,
    assistant,
    checks,
    console,
    contacts,
    conversations,
    dead,
    doctor,
    down,
    knowledge,
    load,
    owners,
    reconcile,
    replies,
    say,
    status,
    tail,
    up,
)
from serve_app.cli.bench import commands as bench
from serve_app.cli.terminal import fail

app = typer.Typer(
    name="recado",
    help="Answers WhatsApp and SMS for a business, on the business's own models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("up")(up.up)
app.command("down")(down.down)
app.command("status")(status.status)
app.command("say")(say.say)
app.command("apply")(apply.apply)
app.add_typer(owners.app, name="owners")
app.add_typer(accounts.app, name="accounts")
app.add_typer(assistant.app, name="assistant")
app.add_typer(knowledge.app, name="knowledge")
app.add_typer(contacts.app, name="contacts")
app.add_typer(conversations.app, name="conversations")
app.add_typer(dead.app, name="dead")
app.add_typer(console.app, name="console")
app.add_typer(replies.app, name="replies")
app.command("reconcile")(reconcile.reconcile)
app.command("load")(load.load)
app.command("doctor")(doctor.doctor)
app.command("tail")(tail.tail)
app.add_typer(bench.app, name="bench")
app.command("test", context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    checks.test
)


def run() -> None:
    """What goes wrong for a reason that we know is one line on standard error and exit status 1. So are
    logs: standard output is what was asked for, which may be JSON."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except RecadoError as error:
        fail(str(error))
        sys.exit(1)
