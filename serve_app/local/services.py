"""Starting the local services, or joining those that run."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from pathlib import Path

from pydantic import BaseModel

from serve_app.local.layout import DataDir, LocalError
from serve_app.local.secrets import ensure_secrets
from serve_app.local.servers import free_port
from serve_app.local.state import ServicesState, read_state
from serve_app.local.users import add_user, live_users, remove_user
from serve_app.settings import PROJECT_ROOT, EnvironmentSettings

_DEFAULT_SIMULATOR_PORT = 8001
_DEFAULT_SERVICE_URL = "http://127.0.0.1:8000"
_POLL_S = 0.05


class LocalServices(BaseModel):
    """Addresses of what runs here; None for what the environment gives or nobody asked for."""

    redis_url: str | None = None
    database_url: str | None = None
    simulator_url: str | None = None
    public_url: str | None = None


def ensure_services(
    env: EnvironmentSettings,
    *,
    while_pid: int,
    simulator: bool | None = None,
    simulator_port: int | None = None,
    service_url: str = _DEFAULT_SERVICE_URL,
    public_url: str | None = None,
    timeout_s: float = 90.0,
) -> LocalServices:
    """Have what the environment doesn't give run here for as long as process `while_pid` does.

    `simulator` None means: if a store is embedded; RECADO_SIMULATOR=false means never. The simulator
    calls `service_url` and signs for `public_url`, which is the same by default. Services that run
    already are joined as they are. Raises `LocalError`, one line.
    """
    embedded = env.redis_url is None or env.database_url is None
    wanted = embedded if simulator is None else simulator
    with_simulator = wanted and env.simulator and env.simulator_url is None
    if not embedded and not with_simulator:
        return LocalServices()
    data_dir = DataDir.at(env.data_dir)
    data_dir.prepare()
    ensure_secrets(data_dir)
    add_user(data_dir, while_pid)
    command = [
        sys.executable,
        *("-m", "serve_app.local"),
        *("--data-dir", str(data_dir.root)),
        *("--while-pid", str(while_pid)),
        *("--service-url", service_url),
        *("--public-url", env.public_url or public_url or service_url),
    ]
    if env.redis_url is None:
        command.append("--valkey")
    if env.database_url is None:
        command.append("--postgres")
    if with_simulator:
        port = free_port(simulator_port or _DEFAULT_SIMULATOR_PORT)
        command += ["--simulator-port", str(port)]
    try:
        state = _start_or_join(data_dir, command, deadline=time.monotonic() + timeout_s)
    except BaseException:
        remove_user(data_dir, while_pid)
        raise
    return LocalServices.model_validate(state.model_dump(include=set(LocalServices.model_fields)))


def release_services(env: EnvironmentSettings, *, while_pid: int, timeout_s: float = 45.0) -> None:
    """Take back `ensure_services` and, if nobody else needs the services, wait until they are gone.

    Raises `LocalError` if they are still there in the end.
    """
    data_dir = DataDir.at(env.data_dir)
    remove_user(data_dir, while_pid)
    deadline = time.monotonic() + timeout_s
    while True:
        state = read_state(data_dir)
        if state is None or not state.running():
            return
        if data_dir.users.is_dir() and live_users(data_dir):
            return
        if time.monotonic() > deadline:
            raise LocalError(
                f"The local services (process {state.supervisor.pid}) did not stop in "
                f"{timeout_s:.0f} s; see {data_dir.logs}/services.log"
            )
        time.sleep(_POLL_S)


def _start_or_join(data_dir: DataDir, command: list[str], *, deadline: float) -> ServicesState:
    notice: int | None = None
    try:
        while time.monotonic() < deadline:
            state = read_state(data_dir)
            running = state is not None and state.running()
            if state is not None and running and state.state == "ready":
                return state
            if notice is None:
                if not running or (state is not None and state.state != "starting"):
                    notice = _spawn(data_dir, command)
            elif _closed(notice):
                os.close(notice)
                notice = None
                state = read_state(data_dir)
                if state is not None and state.state == "ready":
                    continue
                if state is None or state.state == "failed" or not state.running():
                    raise LocalError(_why(data_dir, state))
            time.sleep(_POLL_S)
    finally:
        if notice is not None:
            os.close(notice)
    raise LocalError(f"The local services are not ready yet; see {data_dir.logs}/services.log")


def _spawn(data_dir: DataDir, command: list[str]) -> int:
    """Start a supervisor in a session of its own; a descriptor that closes once it has settled."""
    reader, writer = os.pipe()
    try:
        with _log_file(data_dir).open("ab") as log:
            # It forks and leaves, so that it is nobody's child: whoever asked for the services may
            # go without taking them down, and Ray ends the children of its workers.
            subprocess.run(  # noqa: S603 - our own program and arguments
                [*command, "--notify-fd", str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=PROJECT_ROOT,
                pass_fds=(writer,),
                start_new_session=True,
                timeout=60,
                check=True,
            )
    except (subprocess.SubprocessError, OSError) as error:
        os.close(reader)
        raise LocalError(_why(data_dir, None)) from error
    finally:
        os.close(writer)
    return reader


def _closed(descriptor: int) -> bool:
    readable, _, _ = select.select([descriptor], [], [], 0)
    return bool(readable) and os.read(descriptor, 1) == b""


def _why(data_dir: DataDir, state: ServicesState | None) -> str:
    if state is not None and state.state == "failed" and state.error:
        return f"The local services did not start: {state.error}"
    lines = _log_file(data_dir).read_text("utf-8", errors="replace").splitlines()
    last = next((line for line in reversed(lines) if line.strip()), "nothing was written")
    return f"The local services did not start: {last[-300:]} (see {_log_file(data_dir)})"


def _log_file(data_dir: DataDir) -> Path:
    return data_dir.logs / "services.log"
