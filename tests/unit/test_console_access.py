"""Where the console is on, and what opens it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from pydantic import SecretStr

from serve_app.cli.run_state import Ports, RunState
from serve_app.cli.up import console_address
from serve_app.console_access import console_is_on, console_token
from serve_app.local.processes import ProcessRef
from serve_app.settings import AppSettings, ConsoleSettings, EnvironmentSettings

AUTO = ConsoleSettings()
HERE = "http://127.0.0.1:8000"


def environment(
    *, listens: str | None = "127.0.0.1", public_url: str | None = HERE, token: str | None = None
) -> EnvironmentSettings:
    return EnvironmentSettings(
        data_dir=Path("/nowhere"),
        secret_key=SecretStr("newest,older"),
        listen_host=listens,
        public_url=public_url,
        console_token=None if token is None else SecretStr(token),
    )


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "[::1]", "localhost"])
def test_on_by_itself_at_a_loopback_address(host: str) -> None:
    env = environment(listens=host)
    assert console_is_on(AUTO, env)
    assert console_token(AUTO, env) is not None


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "", None, "192.168.1.4", "bot.example.com", "localhost.example.com"]
)
def test_off_where_other_machines_may_reach_it_whatever_it_is_called(host: str | None) -> None:
    env = environment(listens=host)
    assert not console_is_on(AUTO, env)
    assert console_token(AUTO, env) is None


@pytest.mark.parametrize("url", ["https://bot.example.com", "http://10.0.0.3:8000", None, ""])
def test_off_behind_a_public_address_wherever_it_listens(url: str | None) -> None:
    assert not console_is_on(AUTO, environment(public_url=url))


def test_a_secret_that_was_set_opens_it_anywhere_and_an_empty_one_is_none() -> None:
    open_to_all = environment(
        listens="0.0.0.0", public_url="https://bot.example.com", token="s" * 32
    )
    assert console_is_on(AUTO, open_to_all)
    found = console_token(AUTO, open_to_all)
    assert found is not None
    assert found.get_secret_value() == "s" * 32
    assert not console_is_on(AUTO, environment(listens="0.0.0.0", token=""))


def test_the_made_token_follows_from_the_newest_key() -> None:
    first = console_token(AUTO, environment())
    rotated = environment().model_copy(update={"secret_key": SecretStr("fresh,newest,older")})
    assert first is not None
    assert len(first.get_secret_value()) > 40
    assert console_token(AUTO, rotated) != first
    assert console_token(AUTO, environment()) == first


def test_settings_win_over_the_address() -> None:
    away = environment(listens="0.0.0.0")
    assert console_is_on(ConsoleSettings(enabled="on"), away)
    assert console_token(ConsoleSettings(enabled="on"), away) is None
    assert not console_is_on(ConsoleSettings(enabled="off"), environment(token="s" * 32))


@pytest.mark.parametrize(
    ("host", "enabled", "token", "shown"),
    [
        ("127.0.0.1", "auto", None, f"{HERE}/console (token: ./recado console token)"),
        ("0.0.0.0", "auto", None, "off where other machines reach the service"),
        ("0.0.0.0", "auto", "s" * 32, f"{HERE}/console (token: RECADO_CONSOLE_TOKEN)"),
        ("0.0.0.0", "on", None, f"{HERE}/console (operators: ./recado console add)"),
        ("127.0.0.1", "off", None, "off (console.enabled)"),
    ],
)
def test_up_says_where_it_is_or_why_not(
    host: str, enabled: Literal["auto", "on", "off"], token: str | None, shown: str
) -> None:
    ports = Ports.model_validate(dict.fromkeys(Ports.model_fields, 8000))
    run = RunState(
        state="ready",
        process=ProcessRef.own(),
        session=1,
        config="config.yaml",
        detached=True,
        host=host,
        ports=ports,
        public_url=HERE,
    )
    settings = AppSettings(console=ConsoleSettings(enabled=enabled))
    assert console_address(run, settings, environment(listens=None, token=token)).startswith(shown)
