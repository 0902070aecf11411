"""What a benchmark ran on, for its report."""

from __future__ import annotations

import os
import platform
import socket
from importlib.metadata import version
from statistics import median

from models.errors import RecadoError
from serve_app.local.servers import port_is_free


def describe_machine(*packages: str) -> dict[str, str]:
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def spread(values: list[float]) -> str:
    """Median, and the lowest and highest round."""
    digits = 0 if median(values) >= 100 else 2
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def free_port() -> int:
    """A port of this machine that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def free_port_block() -> int:
    """A port with room for the others that `recado up` derives from it."""
    for port in range(31_000, 60_000, 1_000):
        if port_is_free(port):
            return port
    raise RecadoError("no free port from 31000 on: end what uses them")
