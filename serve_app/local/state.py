"""`services.json`: what the supervisor tells everybody else."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ValidationError

from serve_app.local.layout import DataDir, write_atomically
from serve_app.local.processes import ProcessRef

State = Literal["starting", "ready", "stopping", "stopped", "failed"]


class ServicesState(BaseModel):
    """Holds no secret: the embedded stores are guarded by the permissions of their folders."""

    state: State
    supervisor: ProcessRef
    error: str | None = None
    redis_url: str | None = None
    """None if it was given by the environment, as are the next two."""
    database_url: str | None = None
    simulator_url: str | None = None
    public_url: str | None = None
    """What signatures are made over, up to the path."""
    processes: dict[str, ProcessRef] = {}

    def running(self) -> bool:
        """Whether somebody stands behind this file."""
        return self.supervisor.alive()


def read_state(data_dir: DataDir) -> ServicesState | None:
    """None if nothing was ever started here, or the file is of another version."""
    try:
        return ServicesState.model_validate_json(data_dir.services_file.read_text("utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def write_state(data_dir: DataDir, state: ServicesState) -> None:
    write_atomically(data_dir.services_file, state.model_dump_json(indent=2) + "\n")
