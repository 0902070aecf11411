"""`recado knowledge`: the documents that an owner's assistant may quote."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from serve_app.cli.administering import Desk, at_desk
from serve_app.cli.context import CommandError, ConfigOption, DataDirOption, load_context
from serve_app.cli.terminal import console

if TYPE_CHECKING:
    from models.accounts import Document, Passage

app = typer.Typer(help="Documents that assistants may quote.", no_args_is_help=True)

OwnerArgument = Annotated[
    str, typer.Argument(metavar="OWNER", help="As `recado owners list` shows it.")
]


@app.command()
def add(
    owner_id: OwnerArgument,
    file: Annotated[Path, typer.Argument(help="A text file, UTF-8.")],
    title: Annotated[str | None, typer.Option(help="Left out, the file's name.")] = None,
    source: Annotated[str, typer.Option(help="What the assistant names as its source.")] = "",
    language: Annotated[
        str | None, typer.Option(help="As in pt-BR; left out, the owner's.")
    ] = None,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Add a document, or replace the one of that title."""
    from serve_app.administration.owner_file import DocumentSection

    name = file.stem if title is None else title
    section = DocumentSection(title=name, source=source, language=language, file=file.name)
    document = section.document(file.parent)

    async def work(desk: Desk) -> None:
        await desk.administration.owner(owner_id)
        await desk.stores.documents.save(owner_id, document)

    at_desk(load_context(data_dir=data_dir, config=config), work)
    console.print(f"Stored {escape(name)}: {len(document.text):,} characters.")


@app.command("list")
def list_(
    owner_id: OwnerArgument, data_dir: DataDirOption = None, config: ConfigOption = None
) -> None:
    """The owner's documents."""

    async def work(desk: Desk) -> list[Document]:
        await desk.administration.owner(owner_id)
        return await desk.stores.documents.list_all(owner_id)

    table = Table("title", "source", "language", "characters")
    for document in at_desk(load_context(data_dir=data_dir, config=config), work):
        cells = (
            document.title,
            document.source,
            document.language or "",
            f"{len(document.text):,}",
        )
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table)


@app.command()
def remove(
    owner_id: OwnerArgument,
    title: Annotated[str, typer.Argument(help="As `list` shows it.")],
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """Remove a document."""

    async def work(desk: Desk) -> bool:
        return await desk.stores.documents.remove(owner_id, title)

    if not at_desk(load_context(data_dir=data_dir, config=config), work):
        raise CommandError(f"{owner_id} has no document {title}: see `recado knowledge list`.")
    console.print(f"Removed {escape(title)}.")


@app.command()
def search(
    owner_id: OwnerArgument,
    question: Annotated[str, typer.Argument(help="As a contact would ask.")],
    count: Annotated[int, typer.Option(help="At most so many.", min=1)] = 3,
    data_dir: DataDirOption = None,
    config: ConfigOption = None,
) -> None:
    """What the assistant would be shown for a question."""

    async def work(desk: Desk) -> list[Passage]:
        return await desk.stores.documents.search(owner_id, question, limit=count)

    found = at_desk(load_context(data_dir=data_dir, config=config), work)
    if not found:
        console.print("Nothing fits.")
    for passage in found:
        console.print(
            f"[bold]{escape(passage.title)}[/] {escape(passage.source)} [dim]{passage.rank:.3f}[/]"
        )
        console.print(escape(passage.text))
