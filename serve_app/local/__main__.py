"""`python -m serve_app.local`: the supervisor's process. Started by `ensure_services`."""

from __future__ import annotations

import argparse
import fcntl
import os
import sys
import time
from pathlib import Path

import structlog

from serve_app.local.layout import DataDir, LocalError
from serve_app.local.postgres import Postgres
from serve_app.local.processes import ProcessRef
from serve_app.local.secrets import ensure_secrets
from serve_app.local.servers import Server, Simulator, Valkey
from serve_app.local.state import ServicesState, read_state, write_state
from serve_app.local.supervisor import Supervisor
from serve_app.local.users import add_user
from serve_app.ops.logging import configure_logging
from serve_app.settings import LogSettings

_LOCK_PATIENCE_S = 60.0


def main() -> int:
    args = _arguments()
    if args.notify_fd is not None:
        os.set_inheritable(args.notify_fd, False)
        if os.fork() > 0:
            # The child of nobody, see `services._spawn`.
            os._exit(0)
    configure_logging(LogSettings(format="json"), service="local")
    data_dir = DataDir.at(args.data_dir)
    data_dir.prepare()
    lock = os.open(data_dir.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    if not _lock(lock, data_dir):
        structlog.get_logger(__name__).info("the services run already")
        return 0
    try:
        add_user(data_dir, args.while_pid)
        supervisor = Supervisor(
            data_dir=data_dir,
            servers=_servers(args, data_dir),
            public_url=args.public_url,
            on_settled=lambda: _close(args.notify_fd),
        )
    except LocalError as error:
        _write_failure(data_dir, str(error))
        return 1
    return supervisor.run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve_app.local", description=__doc__)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--while-pid", type=int, required=True, help="stop when it is gone")
    parser.add_argument("--service-url", required=True, help="what the simulator calls")
    parser.add_argument("--public-url", required=True, help="what the simulator signs for")
    parser.add_argument("--valkey", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    parser.add_argument("--simulator-port", type=int)
    parser.add_argument("--notify-fd", type=int, help="closed once ready or failed; also: fork")
    return parser.parse_args()


def _servers(args: argparse.Namespace, data_dir: DataDir) -> list[Server]:
    """Stores before their clients."""
    servers: list[Server] = []
    if args.valkey:
        servers.append(Valkey(data_dir=data_dir))
    if args.simulator_port is not None:
        secrets = ensure_secrets(data_dir)
        servers.append(
            Simulator(
                port=args.simulator_port,
                service_url=args.service_url,
                public_url=args.public_url,
                account_sid=secrets.simulator_account_sid,
                auth_token=secrets.simulator_auth_token.get_secret_value(),
            )
        )
    if args.postgres:
        # Last, because making its data folder takes seconds during which the others start.
        servers.append(Postgres(data_dir=data_dir))
    return servers


def _lock(descriptor: int, data_dir: DataDir) -> bool:
    """False if another supervisor does the work. One that is stopping is waited for."""
    deadline = time.monotonic() + _LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            state = read_state(data_dir)
            if state is not None and state.running() and state.state in ("starting", "ready"):
                return False
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        else:
            return True


def _write_failure(data_dir: DataDir, error: str) -> None:
    own = ProcessRef.own()
    write_state(data_dir, ServicesState(state="failed", supervisor=own, error=error))


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


if __name__ == "__main__":
    sys.exit(main())
