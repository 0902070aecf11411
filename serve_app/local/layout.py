"""Where things lie in the data directory."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from models.errors import RecadoError

# A Unix socket's address holds 104 bytes on macOS, 108 on Linux; Postgres adds a name of 14.
_MAX_SOCKET_DIR = 80


class LocalError(RecadoError):
    """One line that says what is wrong on this machine and what to do about it."""


@dataclass(frozen=True)
class DataDir:
    """The folder that holds everything this installation keeps on one machine."""

    root: Path

    @classmethod
    def at(cls, path: Path) -> DataDir:
        return cls(path.expanduser().resolve())

    @property
    def services_file(self) -> Path:
        return self.root / "services.json"

    @property
    def secrets_file(self) -> Path:
        return self.root / "secrets.json"

    @property
    def run_file(self) -> Path:
        return self.root / "run.json"

    @property
    def lock_file(self) -> Path:
        return self.root / "services.lock"

    @property
    def users(self) -> Path:
        """A file per process that needs the local services, named by its id."""
        return self.root / "users"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def valkey(self) -> Path:
        return self.root / "valkey"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def short(self) -> Path:
        """A folder of our own with a short path, for Unix sockets.

        HAProxy's admin socket takes 97 bytes, of which Serve uses 71 for a folder per node and a name.
        """
        digest = hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]
        return Path("/tmp") / f"recado-{digest}"  # noqa: S108 - guarded by `make_private`

    def socket_dir(self, service: str) -> Path:
        """Where a server's Unix socket goes: its data folder, or a short path when that is too long."""
        folder = self.root / service
        return folder if len(os.fsencode(folder)) <= _MAX_SOCKET_DIR else self.short / service

    def prepare(self) -> None:
        """Make the folders; raises `LocalError` if the data directory can't be written."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.logs, self.users):
                folder.mkdir(exist_ok=True)
            probe = self.root / f".write-{os.getpid()}"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise LocalError(
                f"The data directory {self.root} can't be written ({error.strerror}): "
                "choose another with --data-dir or RECADO_DATA_DIR."
            ) from error


def make_private(*folders: Path) -> None:
    """Make folders with access for their owner alone; raises `LocalError` if one is somebody else's.

    Folders under the shared temporary directory have names that can be guessed.
    """
    for folder in folders:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or (os.geteuid() not in (found.st_uid, 0)):
            raise LocalError(f"{folder} belongs to another user: remove it.")


def write_atomically(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Readers see the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
