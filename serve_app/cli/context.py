"""What commands on a running installation need: the settings that are served, and where things are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from models.errors import RecadoError
from serve_app.cli.configuration import read_configuration
from serve_app.local.environment import effective_environment
from serve_app.settings import PROJECT_ROOT, AppSettings, EnvironmentSettings

DEFAULT_CONFIG = PROJECT_ROOT / "config.yaml"

DataDirOption = Annotated[
    Path | None, typer.Option("--data-dir", help="Where `recado up` keeps its data.")
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", help="The configuration that is served.")
]


class CommandError(RecadoError):
    """One line that says what is wrong with a command, and what to do."""


@dataclass(frozen=True)
class CliContext:
    settings: AppSettings
    environment: EnvironmentSettings


def load_context(*, data_dir: Path | None, config: Path | None) -> CliContext:
    """Raises `ConfigError` or `LocalError`, each one line."""
    settings = read_configuration(config or DEFAULT_CONFIG).settings
    env = EnvironmentSettings()
    if data_dir is not None:
        env = env.model_copy(update={"data_dir": data_dir})
    return CliContext(settings, effective_environment(env, public_url=settings.public_url))
