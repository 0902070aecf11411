"""`recado dead`: look at dead letters, replay or purge them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from models.jobs import DeadLetter
from serve_app.cli.context import CommandError, ConfigOption, DataDirOption, load_context
from serve_app.cli.deeds import by_command
from serve_app.delivery.attention import purge_outbound
from serve_app.ports import Queue

if TYPE_CHECKING:
    from serve_app.bootstrap import Stores

app = typer.Typer(help="Dead letters: what couldn't be processed.", no_args_is_help=True)

T = TypeVar("T")

QueueOption = Annotated[
    str | None, typer.Option("--queue", help="inbound, outbound or status; all by default.")
]
IdArgument = Annotated[str, typer.Argument(help="As `recado dead list` shows it: queue/id.")]
ON_ONE_LINE = 100
"""Letters that one line of the activities names."""
ALL = typer.Option("--all", help="Every dead letter (of --queue).")


@app.command("list")
def list_(
    queue: QueueOption = None,
    count: Annotated[int, typer.Option(help="At most so many of each queue.", min=1)] = 50,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """The dead letters, oldest first."""

    async def work(stores: Stores) -> list[tuple[Queue, DeadLetter]]:
        return [(q, letter) for q in _queues(stores, queue) for letter in await q.dead(count=count)]

    letters = _run(work, data_dir, config)
    console = Console()
    if not letters:
        console.print("No dead letters.")
        return
    table = Table("id", "since (UTC)", "reason", "attempts", "last error")
    for q, letter in letters:
        history = letter.job.history
        table.add_row(
            f"{q.name}/{letter.id}",
            _time(letter.dead_at),
            letter.reason.value,
            str(len(history)),
            f"{history[-1].error_type}: {history[-1].message}"[:120] if history else "",
        )
    console.print(table)


@app.command()
def show(dead_id: IdArgument, data_dir: DataDirOption = None, config: ConfigOption = None) -> None:
    """One dead letter with every attempt."""

    async def work(stores: Stores) -> DeadLetter | None:
        queue, position = _find(stores, dead_id)
        return await queue.dead_get(position)

    letter = _run(work, data_dir, config)
    if letter is None:
        raise CommandError(f"There is no dead letter {dead_id}.")
    console = Console(highlight=False)
    job = letter.job
    console.print(f"[bold]{dead_id}[/]  {letter.reason.value}  dead since {_time(letter.dead_at)}")
    console.print(f"job {job.id}, published {_time(job.published_at)}, crashes {job.crashes}")
    for key, value in job.trace.items():
        console.print(f"{key} {value}", markup=False)
    for number, attempt in enumerate(job.history, 1):
        console.print(f"\n[bold]attempt {number}[/] {_time(attempt.at)} on {attempt.consumer}")
        console.print(f"{attempt.error_type}: {attempt.message}", markup=False)
        console.print(attempt.traceback, markup=False, style="dim")
    console.print("\n[bold]payload[/]")
    console.print(job.payload, markup=False, soft_wrap=True)


@app.command()
def replay(
    dead_id: Annotated[str | None, typer.Argument(help="As `recado dead list` shows it.")] = None,
    every: Annotated[bool, ALL] = False,
    queue: QueueOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Process a dead letter again, its history kept and its attempts at zero."""
    done = _each("replay", dead_id, every, queue, data_dir, config, _replay)
    Console().print(f"Replayed {done}.")


@app.command()
def purge(
    dead_id: Annotated[str | None, typer.Argument(help="As `recado dead list` shows it.")] = None,
    every: Annotated[bool, ALL] = False,
    queue: QueueOption = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Delete a dead letter for good; a reply that it was to send is cancelled."""
    done = _each("discard", dead_id, every, queue, data_dir, config, _purge)
    Console().print(f"Deleted {done}.")


async def _replay(_: Stores, queue: Queue, position: str) -> bool:
    return await queue.replay(position)


async def _purge(stores: Stores, queue: Queue, position: str) -> bool:
    if queue is stores.outbound:
        return await purge_outbound(position, outbound=queue, replies=stores.replies)
    return await queue.purge(position)


def _each(
    action: str,
    dead_id: str | None,
    every: bool,
    queue: str | None,
    data_dir: Path | None,
    config: Path | None,
    act: Callable[[Stores, Queue, str], Awaitable[bool]],
) -> int:
    if (dead_id is None) == (not every):
        raise CommandError("Name one dead letter, or say --all.")

    async def work(stores: Stores) -> int:
        if dead_id is not None:
            place = _find(stores, dead_id)
            async with by_command(stores.pool, action, f"dead letter {dead_id}") as deed:
                found = await act(stores, *place)
                deed.outcome = "" if found else "not done: there is none"
            return int(found)
        done = 0
        for q in _queues(stores, queue):
            # Read all first: what fails again comes back as a new dead letter.
            letters: list[DeadLetter] = []
            start = "-"
            while page := await q.dead(start=start, count=500):
                letters += page
                start = f"({page[-1].id}"
            for begin in range(0, len(letters), ON_ONE_LINE):
                batch = letters[begin : begin + ON_ONE_LINE]
                names = ", ".join(f"{q.name}/{letter.id}" for letter in batch)
                subject = f"{len(batch)} dead letters"
                async with by_command(stores.pool, action, subject, names) as deed:
                    did = 0
                    for letter in batch:
                        did += await act(stores, q, letter.id)
                        deed.outcome = f"{did} of {len(batch)}"
                done += did
        return done

    done = _run(work, data_dir, config)
    if dead_id is not None and not done:
        raise CommandError(f"There is no dead letter {dead_id}.")
    return done


def _run(work: Callable[[Stores], Awaitable[T]], data_dir: Path | None, config: Path | None) -> T:
    from serve_app.bootstrap import open_stores

    context = load_context(data_dir=data_dir, config=config)

    async def main() -> T:
        async with open_stores(context.settings, context.environment) as stores:
            return await work(stores)

    return asyncio.run(main())


def _queues(stores: Stores, name: str | None) -> list[Queue]:
    if name is None:
        return list(stores.queues.values())
    if name not in stores.queues:
        raise CommandError(f"There is no queue {name}: {', '.join(stores.queues)}.")
    return [stores.queues[name]]


def _find(stores: Stores, dead_id: str) -> tuple[Queue, str]:
    name, slash, position = dead_id.partition("/")
    if not slash:
        raise CommandError(f"{dead_id} isn't of the form queue/id: see `recado dead list`.")
    return _queues(stores, name)[0], position


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
