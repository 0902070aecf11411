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
    """RECADO_CONSOLE_TOKEN; where the service is reached at a loopback address alone, one that follows
    from the installation's secret key. None where only operators with a password may come in."""
    if env.console_token is not None and env.console_token.get_secret_value():
        return env.console_token
    if env.secret_key is None or not is_loopback(env.public_url):
        return None
    key = env.secret_key.get_secret_value().split(",")[0].strip()
    mac = hmac.new(key.encode(), b"recado console token", hashlib.sha256).digest()
    return SecretStr(base64.urlsafe_b64encode(mac).decode().rstrip("="))


def console_is_on(settings: ConsoleSettings, env: EnvironmentSettings) -> bool:
    if settings.enabled == "auto":
        return console_token(settings, env) is not None
    return settings.enabled == "on"


def is_loopback(url: str | None) -> bool:
    host = urlsplit(url or "").hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
