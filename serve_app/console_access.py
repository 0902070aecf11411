"""Whether the console is on, and the token that opens it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from urllib.parse import urlsplit

from pydantic import SecretStr

from serve_app.settings import ConsoleSettings, EnvironmentSettings


def console_token(settings: ConsoleSettings, env: EnvironmentSettings) -> SecretStr | None:
    """RECADO_CONSOLE_TOKEN; where the service can be reached from this machine alone, one that follows
    from the installation's secret key. None where only operators with a password may come in."""
    if env.console_token is not None and env.console_token.get_secret_value():
        return env.console_token
    if env.secret_key is None or not is_private(env):
        return None
    key = env.secret_key.get_secret_value().split(",")[0].strip()
    mac = hmac.new(key.encode(), b"recado console token", hashlib.sha256).digest()
    return SecretStr(base64.urlsafe_b64encode(mac).decode().rstrip("="))


def console_is_on(settings: ConsoleSettings, env: EnvironmentSettings) -> bool:
    if settings.enabled == "auto":
        return console_token(settings, env) is not None
    return settings.enabled == "on"


def told_where_it_listens(env: EnvironmentSettings, host: str) -> EnvironmentSettings:
    """`env` as the service that listens at `host` has it."""
    return env.model_copy(update={"listen_host": env.listen_host or host})


def is_private(env: EnvironmentSettings) -> bool:
    """Whether only this machine reaches the service: by where it listens, and by the address that it is
    called at, since a tunnel or a proxy listens elsewhere. Not so where it isn't known where it listens."""
    return _is_loopback(env.listen_host) and _is_loopback(urlsplit(env.public_url or "").hostname)


def _is_loopback(host: str | None) -> bool:
    """Of an address or a name; an empty one means every interface."""
    host = (host or "").strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
