"""Fills in what the environment doesn't give from what the local supervisor wrote down."""

from __future__ import annotations

from pydantic import SecretStr

from serve_app.local.layout import DataDir, LocalError
from serve_app.local.secrets import read_secrets
from serve_app.local.state import read_state
from serve_app.settings import EnvironmentSettings


def effective_environment(
    env: EnvironmentSettings, *, public_url: str | None = None
) -> EnvironmentSettings:
    """`env` with `redis_url`, `database_url`, `secret_key`, `public_url` and `simulator_url` filled in.

    The environment wins, then `public_url` (the configuration's), then the local services. The
    simulator's address stays None where none runs. Raises `LocalError` naming the variable that is
    missing.
    """
    data_dir = DataDir.at(env.data_dir)
    state = read_state(data_dir)
    if state is not None and not state.running():
        state = None
    secrets = None if env.secret_key is not None else read_secrets(data_dir)
    local_public_url = state.public_url if state else None
    return env.model_copy(
        update={
            "redis_url": env.redis_url or _secret(state.redis_url if state else None, "REDIS_URL"),
            "database_url": env.database_url
            or _secret(state.database_url if state else None, "DATABASE_URL"),
            "secret_key": env.secret_key
            or required(secrets.secret_key if secrets else None, "SECRET_KEY"),
            "public_url": env.public_url or public_url or local_public_url,
            "simulator_url": env.simulator_url or (state.simulator_url if state else None),
        }
    )


def _secret(value: str | None, name: str) -> SecretStr:
    return required(SecretStr(value) if value else None, name)


def required(value: SecretStr | None, name: str) -> SecretStr:
    """The value of `RECADO_<name>`. Raises `LocalError` if nobody gave one."""
    if value is None:
        raise LocalError(
            f"RECADO_{name} is not set and no local services run here: set it, or start them with "
            "`./recado up`."
        )
    return value
