"""The environment wins, then the configuration, then what runs locally."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from serve_app.local.environment import effective_environment
from serve_app.local.layout import DataDir, LocalError
from serve_app.local.processes import ProcessRef
from serve_app.local.secrets import ensure_secrets
from serve_app.local.state import ServicesState, write_state
from serve_app.settings import EnvironmentSettings


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REDIS_URL", "DATABASE_URL", "SECRET_KEY", "PUBLIC_URL", "SIMULATOR_URL"):
        monkeypatch.delenv(f"RECADO_{name}", raising=False)


@pytest.fixture
def data_dir(tmp_path: Path) -> DataDir:
    return DataDir.at(tmp_path)


def _services(data_dir: DataDir, *, supervisor: ProcessRef | None = None) -> None:
    write_state(
        data_dir,
        ServicesState(
            state="ready",
            supervisor=supervisor or ProcessRef.own(),
            redis_url="unix:///local/valkey.sock",
            database_url="postgresql://local",
            simulator_url="http://127.0.0.1:8001",
            public_url="http://127.0.0.1:8000",
        ),
    )


def _env(data_dir: DataDir, **values: object) -> EnvironmentSettings:
    return EnvironmentSettings.model_validate({"data_dir": data_dir.root, **values})


def test_local_services_fill_in_everything(data_dir: DataDir) -> None:
    _services(data_dir)
    key = ensure_secrets(data_dir).secret_key
    env = effective_environment(_env(data_dir))
    assert env.redis_url == SecretStr("unix:///local/valkey.sock")
    assert env.database_url == SecretStr("postgresql://local")
    assert env.secret_key == key
    assert env.simulator_url == "http://127.0.0.1:8001"
    assert env.public_url == "http://127.0.0.1:8000"


def test_the_environment_wins(data_dir: DataDir) -> None:
    _services(data_dir)
    ensure_secrets(data_dir)
    env = effective_environment(
        _env(
            data_dir,
            redis_url=SecretStr("redis://given"),
            secret_key=SecretStr("given"),
            public_url="https://given",
        ),
        public_url="https://configured",
    )
    assert env.redis_url == SecretStr("redis://given")
    assert env.database_url == SecretStr("postgresql://local")
    assert env.secret_key == SecretStr("given")
    assert env.public_url == "https://given"


def test_the_configured_address_wins_over_the_local_one(data_dir: DataDir) -> None:
    _services(data_dir)
    ensure_secrets(data_dir)
    env = effective_environment(_env(data_dir), public_url="https://configured")
    assert env.public_url == "https://configured"


def test_a_cluster_needs_no_local_file(data_dir: DataDir) -> None:
    env = effective_environment(
        _env(
            data_dir,
            redis_url=SecretStr("redis://given"),
            database_url=SecretStr("postgresql://given"),
            secret_key=SecretStr("given"),
        )
    )
    assert env.simulator_url is None
    assert env.public_url is None


@pytest.mark.parametrize("name", ["redis_url", "database_url", "secret_key"])
def test_what_is_missing_is_named(data_dir: DataDir, name: str) -> None:
    given = {key: SecretStr("x") for key in ("redis_url", "database_url", "secret_key")}
    del given[name]
    with pytest.raises(LocalError, match=f"RECADO_{name.upper()} is not set"):
        effective_environment(_env(data_dir, **given))


def test_services_whose_supervisor_is_gone_do_not_count(data_dir: DataDir) -> None:
    own = ProcessRef.own()
    # The same process id, another life.
    _services(data_dir, supervisor=own.model_copy(update={"started": own.started - 60}))
    ensure_secrets(data_dir)
    with pytest.raises(LocalError, match="RECADO_REDIS_URL"):
        effective_environment(_env(data_dir))
