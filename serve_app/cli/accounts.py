"""`recado accounts`: accounts at providers, their numbers and their tokens."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from serve_app.cli.administering import (
    Desk,
    ask_token,
    at_desk,
    edit_and_settle,
    propose,
    settle,
)
from serve_app.cli.context import (
    CliContext,
    CommandError,
    ConfigOption,
    DataDirOption,
    load_context,
)
from serve_app.cli.owners import accounts_table
from serve_app.cli.terminal import console

if TYPE_CHECKING:
    from models.accounts import TwilioAccount
    from serve_app.administration.service import Administration, Proposal

app = typer.Typer(help="Accounts at Twilio and Meta: numbers and tokens.", no_args_is_help=True)

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]
TokenEnvOption = Annotated[
    str | None,
    typer.Option("--token-env", help="The variable that holds the token; asked for by default."),
]


@app.command("list")
def list_(
    owner: Annotated[str | None, typer.Option(help="Only this owner's.")] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """The accounts; tokens are never shown."""

    async def work(desk: Desk) -> list[TwilioAccount]:
        return await desk.stores.accounts.list_all()

    accounts = at_desk(load_context(data_dir=data_dir, config=config), work)
    chosen = [account for account in accounts if owner in (None, account.owner_id)]
    if not chosen:
        console.print("There are no accounts: add one with `recado accounts add`.")
        return
    console.print(accounts_table(chosen))


@app.command()
def show(
    account_id: IdArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """One account as its owner's file has it; of its tokens, which there are."""
    from serve_app.administration.owner_file import write_account

    account = _account(load_context(data_dir=data_dir, config=config), account_id)
    console.print(accounts_table([account]))
    console.print(write_account(account), markup=False, end="", soft_wrap=True)


@app.command()
def edit(
    account_id: IdArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Apply without asking.")] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Edit an account in $EDITOR: numbers, messaging service, rates, template. Tokens stay: see `rotate`."""
    from serve_app.administration.owner_file import read_account, write_account

    context = load_context(data_dir=data_dir, config=config)
    account = _account(context, account_id)

    def proposing(text: str) -> Callable[[Administration], Awaitable[Proposal]]:
        section = read_account(text)
        return lambda a: a.propose_account_edit(account, section, environ=os.environ)

    text = write_account(account)
    edit_and_settle(context, text, name=account_id, proposing=proposing, yes=yes)


@app.command()
def add(
    owner: Annotated[str, typer.Option(help="Whose it is.")],
    sid: Annotated[
        str,
        typer.Option(help="The AccountSid: AC and 32 digits; or Meta's WABA id."),
    ],
    number: Annotated[
        list[str] | None,
        typer.Option(help="whatsapp:+15551234567, or +15551234567 for SMS; may be repeated."),
    ] = None,
    messaging_service: Annotated[
        str | None, typer.Option(help="Its messaging service: MG and 32 digits.")
    ] = None,
    token_env: TokenEnvOption = None,
    channel: Annotated[str, typer.Option(help="twilio, or whatsapp_cloud.")] = "twilio",
    access_token_env: Annotated[
        str | None,
        typer.Option(help="whatsapp_cloud: the variable that holds the API's access token."),
    ] = None,
    account_id: Annotated[
        str | None, typer.Option("--id", help="Its id here; OWNER-CHANNEL by default.")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Add an account. A further one of a known AccountSid takes that one's token."""
    from serve_app.administration.owner_file import check_account

    document: dict[str, object] = {
        "id": account_id or f"{owner}-{channel.replace('_', '-')}",
        "channel": channel,
        "access_token_env": access_token_env,
        "account_sid": sid,
        "phone_numbers": number or [],
        "messaging_service_sid": messaging_service,
    }
    section = check_account(document)
    context = load_context(data_dir=data_dir, config=config)

    async def known(desk: Desk) -> bool:
        return await desk.stores.accounts.by_sid(sid) is not None

    token = None
    if token_env is not None or not at_desk(context, known):
        token = ask_token(token_env, prompt=f"Auth token of {sid}")
    access_token = None
    if access_token_env is not None:
        access_token = ask_token(access_token_env, prompt=f"Access token of {sid}")
    settle(
        context,
        propose(
            context,
            lambda a: a.propose_account(
                section, owner_id=owner, token=token, access_token=access_token
            ),
        ),
    )


@app.command()
def rotate(
    account_id: IdArgument,
    token_env: TokenEnvOption = None,
    drop_secondary: Annotated[
        bool, typer.Option("--drop-secondary", help="Forget the former token: Twilio has, too.")
    ] = False,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Take a new token; the former one verifies webhooks too until --drop-secondary."""
    if drop_secondary and token_env is not None:
        raise CommandError(
            "Say --token-env first, and --drop-secondary when Twilio has changed over."
        )
    context = load_context(data_dir=data_dir, config=config)
    token = None
    if not drop_secondary:
        token = ask_token(token_env, prompt=f"New auth token of {account_id}")
    proposal = propose(
        context,
        lambda a: a.propose_rotation(account_id, token=token, drop_secondary=drop_secondary),
    )
    settle(context, proposal)


@app.command()
def deactivate(
    account_id: IdArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Stop answering an account's messages; nothing is deleted."""
    _set_active(account_id, False, data_dir, config)


@app.command()
def activate(
    account_id: IdArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """Answer an account's messages again."""
    _set_active(account_id, True, data_dir, config)


def _account(context: CliContext, account_id: str) -> TwilioAccount:
    async def work(desk: Desk) -> TwilioAccount:
        return await desk.administration.account(account_id)

    return at_desk(context, work)


def _set_active(account_id: str, active: bool, data_dir: Path | None, config: Path | None) -> None:
    context = load_context(data_dir=data_dir, config=config)
    settle(context, propose(context, lambda a: a.propose_activity(account_id, active=active)))
