"""Who needs the local services: a file per process. The last one to go takes them down."""

from __future__ import annotations

from pydantic import ValidationError

from serve_app.local.layout import DataDir, LocalError, write_atomically
from serve_app.local.processes import ProcessRef


def add_user(data_dir: DataDir, pid: int) -> None:
    """Raises `LocalError` if no such process runs."""
    ref = ProcessRef.of(pid)
    if ref is None:
        raise LocalError(f"Process {pid}, which the local services were to serve, doesn't run.")
    write_atomically(data_dir.users / str(pid), ref.model_dump_json())


def remove_user(data_dir: DataDir, pid: int) -> None:
    (data_dir.users / str(pid)).unlink(missing_ok=True)


def live_users(data_dir: DataDir) -> list[int]:
    """Forgets those that died."""
    live: list[int] = []
    for path in data_dir.users.iterdir():
        if not path.name.isdigit():
            continue
        try:
            ref = ProcessRef.model_validate_json(path.read_text("utf-8"))
        except (FileNotFoundError, ValidationError):
            continue
        if ref.alive():
            live.append(ref.pid)
        else:
            path.unlink(missing_ok=True)
    return live
