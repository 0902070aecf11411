"""Reads `config.yaml` as Ray Serve will, and says in one line what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import yaml
from pydantic import BaseModel, ValidationError

from models.errors import RecadoError
from serve_app.settings import PROJECT_ROOT, AppSettings

_IMPORT_PATH = "serve_app.app:build"
_DEFAULT_HOST = "127.0.0.1"


class ConfigError(RecadoError):
    """One line that names the file and what to change in it."""


class Configuration(BaseModel):
    """A checked Serve configuration."""

    path: Path
    serve: dict[str, Any]
    """The whole file."""
    settings: AppSettings
    """Our application's `args`."""

    @property
    def host(self) -> str:
        options = cast("dict[str, Any]", self.serve.get("http_options") or {})
        return str(options.get("host") or _DEFAULT_HOST)

    @property
    def port(self) -> int | None:
        options = cast("dict[str, Any]", self.serve.get("http_options") or {})
        port = options.get("port")
        return int(port) if port is not None else None

    def needs_model_hub(self) -> bool:
        """Whether a model is named that isn't on this machine's disk."""
        speech, chat = self.settings.speech, self.settings.chat
        models = [speech.model]
        if chat.engine == "transformers":
            models.append(chat.model)
        return any(not _is_local(model) for model in models)


def read_configuration(path: Path) -> Configuration:
    """Raises `ConfigError`."""
    try:
        parsed: object = yaml.safe_load(path.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path} doesn't exist: name a configuration with --config.") from None
    except OSError as error:
        raise ConfigError(f"{path} can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no YAML: {error}") from error
    if not isinstance(parsed, dict):
        raise ConfigError(f"{path} must be a Serve configuration with `applications`.")
    serve = cast("dict[str, Any]", parsed)
    return Configuration(path=path, serve=serve, settings=_settings(path, serve))


def _settings(path: Path, serve: dict[str, Any]) -> AppSettings:
    applications = serve.get("applications")
    if not isinstance(applications, list) or not applications:
        raise ConfigError(f"{path} has no `applications`.")
    for application in cast("list[object]", applications):
        if not isinstance(application, dict):
            raise ConfigError(f"{path}: each of `applications` must be a mapping.")
        entry = cast("dict[str, Any]", application)
        if entry.get("import_path") == _IMPORT_PATH:
            try:
                return AppSettings.model_validate(entry.get("args") or {})
            except ValidationError as error:
                raise ConfigError(f"{path}: {describe(error, under='args')}") from error
    # Somebody else's application runs all the same, with nothing of ours to check.
    return AppSettings()


def describe(error: ValidationError, *, under: str) -> str:
    """All problems in one line: `args.queue.lease: unknown key; …`."""
    problems: list[str] = []
    for problem in error.errors():
        where = ".".join([under, *(str(part) for part in problem["loc"])])
        unknown = problem["type"] == "extra_forbidden"
        what = "unknown key" if unknown else problem["msg"][0].lower() + problem["msg"][1:]
        problems.append(f"{where}: {what}")
    return "; ".join(problems)


def _is_local(model: str) -> bool:
    return model == "demo" or Path(model).is_dir() or (PROJECT_ROOT / model).is_dir()
