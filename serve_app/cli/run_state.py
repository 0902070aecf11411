"""`run.json`: what a running product is made of, for the commands that come later."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import BaseModel, ValidationError

from serve_app.local.layout import DataDir, write_atomically
from serve_app.local.processes import ProcessRef


class Ports(BaseModel):
    """Every port that one installation takes on its machine."""

    http: int
    """The service: HAProxy on Linux, Serve's own proxy elsewhere."""
    simulator: int
    dashboard: int
    """Ray's."""
    fallback: int
    """Serve's proxy behind HAProxy."""
    haproxy_stats: int
    haproxy_metrics: int
    ray_metrics: int
    """Where Ray exports every metric of this machine for Prometheus."""
    replicas: int
    """First of the ports that ingress replicas listen on."""


class RunState(BaseModel):
    """Written by the process that runs the product; gone after an orderly end."""

    state: Literal["starting", "ready", "stopping"]
    process: ProcessRef
    session: int
    """Session id of everything that process started but the local services."""
    config: str
    detached: bool
    host: str
    ports: Ports
    public_url: str
    simulator_url: str | None = None
    dashboard_url: str | None = None
    ray_session: str | None = None
    """Folder of Ray's own logs."""

    def of_this_process(self) -> RunState:
        """The same, run by the caller, which leads its session."""
        return self.model_copy(update={"process": ProcessRef.own(), "session": os.getsid(0)})

    @property
    def url(self) -> str:
        """Where the service answers on this machine."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host  # noqa: S104
        return f"http://{host}:{self.ports.http}"


def read_run(data_dir: DataDir) -> RunState | None:
    """None if nothing runs here as far as the file tells; its process may have died since."""
    try:
        return RunState.model_validate_json(data_dir.run_file.read_text("utf-8"))
    except (FileNotFoundError, ValidationError):
        return None


def write_run(data_dir: DataDir, run: RunState) -> None:
    write_atomically(data_dir.run_file, run.model_dump_json(indent=2) + "\n")


def forget_run(data_dir: DataDir) -> None:
    data_dir.run_file.unlink(missing_ok=True)
