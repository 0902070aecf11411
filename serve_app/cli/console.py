"""`recado console`: who may use the operators' pages."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from models.console import LONGEST_NAME, TOKEN_OPERATOR, Operator, Role
from serve_app.cli.context import CommandError, ConfigOption, DataDirOption, load_context
from serve_app.cli.deeds import by_command
from serve_app.cli.run_state import read_run
from serve_app.cli.terminal import console
from serve_app.console.passwords import SHORTEST, hash_password
from serve_app.console_access import console_token, told_where_it_listens
from serve_app.local.layout import DataDir
from serve_app.ports import OperatorRepository

if TYPE_CHECKING:
    from serve_app.store.pool import StorePool

app = typer.Typer(help="The operators' pages: their token and people.", no_args_is_help=True)

T = TypeVar("T")


@app.command()
def token(data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """Print the token that signs in with every right."""
    context = load_context(data_dir=data_dir, config=config)
    run = read_run(DataDir.at(context.environment.data_dir))
    env = (
        context.environment if run is None else told_where_it_listens(context.environment, run.host)
    )
    found = console_token(context.settings.console, env)
    if found is None:
        raise CommandError(
            "There is no token here: one is made only for a service that `./recado up` starts at a "
            "loopback address. Set RECADO_CONSOLE_TOKEN, or add operators."
        )
    print(found.get_secret_value())


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Who signs in.")],
    role: Annotated[Role, typer.Option(help="view, operate or administer.")] = Role.VIEW,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Add an operator, or give one a new password and role; the password is asked for."""
    password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    if len(password) < SHORTEST:
        raise CommandError(f"A password has at least {SHORTEST} characters.")
    if not name.strip() or name == TOKEN_OPERATOR:
        raise CommandError("Choose another name.")
    if name != name.strip() or len(name) > LONGEST_NAME:
        raise CommandError(
            f"A name has at most {LONGEST_NAME} characters, none of them blank at its ends."
        )
    hashed = hash_password(password)

    async def work(operators: OperatorRepository, pool: StorePool) -> None:
        async with by_command(pool, "add operator", name, role.value):
            await operators.save_operator(Operator(name=name, role=role), password_hash=hashed)

    _run(work, data_dir, config)
    console.print(f"{name} may {role.value}.", markup=False)


@app.command()
def remove(
    name: Annotated[str, typer.Argument()],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove an operator and end their sessions."""

    async def work(operators: OperatorRepository, pool: StorePool) -> bool:
        async with by_command(pool, "remove operator", name) as deed:
            found = await operators.delete_operator(name)
            deed.outcome = "" if found else "not done: there is none"
        return found

    if not _run(work, data_dir, config):
        raise CommandError(f"There is no operator {name}.")
    console.print(f"{name} was removed.", markup=False)


@app.command("list")
def list_(data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """The operators with a password."""

    async def work(operators: OperatorRepository, _: StorePool) -> list[Operator]:
        return await operators.operators()

    for operator in _run(work, data_dir, config):
        console.print(f"{operator.name}  {operator.role.value}", markup=False)


def _run(
    work: Callable[[OperatorRepository, StorePool], Awaitable[T]],
    data_dir: Path | None,
    config: Path | None,
) -> T:
    from serve_app.bootstrap import open_stores
    from serve_app.store.operators import PostgresOperatorRepository

    context = load_context(data_dir=data_dir, config=config)

    async def main() -> T:
        async with open_stores(context.settings, context.environment) as stores:
            return await work(PostgresOperatorRepository(pool=stores.pool), stores.pool)

    return asyncio.run(main())
