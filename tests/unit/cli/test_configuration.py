"""What is wrong with a configuration is said in one line that names the key."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from serve_app.cli.configuration import ConfigError, read_configuration
from serve_app.settings import PROJECT_ROOT


def _write(folder: Path, args: dict[str, object], **serve: object) -> Path:
    path = folder / "config.yaml"
    application = {"name": "recado", "import_path": "serve_app.app:build", "args": args}
    path.write_text(yaml.safe_dump({"applications": [application], **serve}))
    return path


def test_the_projects_own_configuration_is_right_and_needs_no_network() -> None:
    configuration = read_configuration(PROJECT_ROOT / "config.yaml")
    assert not configuration.needs_model_hub()
    assert configuration.host == "127.0.0.1"
    assert configuration.port == 8000


def test_unknown_keys_are_all_named(tmp_path: Path) -> None:
    path = _write(tmp_path, {"quue": {}, "worker": {"concurency": 3}})
    with pytest.raises(ConfigError) as caught:
        read_configuration(path)
    assert "args.quue: unknown key" in str(caught.value)
    assert "args.worker.concurency: unknown key" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_value_is_named_with_what_is_allowed(tmp_path: Path) -> None:
    path = _write(tmp_path, {"worker": {"concurrency": 0}})
    with pytest.raises(ConfigError, match=r"args\.worker\.concurrency: .*greater than"):
        read_configuration(path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (None, "doesn't exist"),
        ("a: [", "no YAML"),
        ("- a", "must be a Serve configuration"),
        ("applications: []", "has no `applications`"),
        ("applications: [a]", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path: Path, text: str | None, complaint: str) -> None:
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=complaint):
        read_configuration(path)


@pytest.mark.parametrize(
    ("args", "asks"),
    [
        ({}, False),
        ({"speech": {"model": "large-v3-turbo"}}, True),
        ({"chat": {"model": "someone/some-model"}}, True),
        ({"chat": {"engine": "openai", "model": "served-name"}}, False),
        ({"speech": {"model": "demo/models/speech"}}, False),
    ],
)
def test_the_model_hub_is_asked_only_for_a_model_that_is_named(
    tmp_path: Path, args: dict[str, object], asks: bool
) -> None:
    assert read_configuration(_write(tmp_path, args)).needs_model_hub() is asks


def test_addresses_come_from_the_http_options(tmp_path: Path) -> None:
    path = _write(tmp_path, {}, http_options={"host": "0.0.0.0", "port": 9000})
    configuration = read_configuration(path)
    assert (configuration.host, configuration.port) == ("0.0.0.0", 9000)
