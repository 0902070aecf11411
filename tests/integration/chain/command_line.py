"""The `recado` command, given beside a house that is open."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import yaml

from models.errors import RecadoError
from serve_app.cli.app import app
from serve_app.cli.terminal import console
from tests.integration.chain.house import House


@dataclass
class Result:
    output: str
    exception: BaseException | None

    @property
    def exit_code(self) -> int:
        return int(self.exception is not None)


async def recado(at: House, folder: Path, *arguments: str) -> Result:
    """Runs the command on this house's configuration, in a thread: it has an event loop of its own."""
    config = folder / "config.yaml"
    args = at.settings.model_dump(mode="json", exclude_unset=True)
    application = {"name": "recado", "import_path": "serve_app.app:build", "args": args}
    config.write_text(yaml.safe_dump({"applications": [application]}))
    printed = StringIO()
    width, console.width, console.file = console._width, 300, printed
    try:
        await asyncio.to_thread(app, [*arguments, "--config", str(config)], standalone_mode=False)
    except RecadoError as error:
        return Result(printed.getvalue(), error)
    finally:
        # Back to whatever standard output is then.
        console._width, console._file = width, None
    return Result(printed.getvalue(), None)
