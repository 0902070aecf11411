"""Shows the log of a product that runs in the foreground: pretty on a terminal, as it is elsewhere."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from typing import Any

import structlog


class LogFollower:
    """Prints the lines that are appended to a file of JSON lines, from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._render = structlog.dev.ConsoleRenderer() if sys.stdout.isatty() else None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._follow, name="log", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)

    def _follow(self) -> None:
        with self._path.open(encoding="utf-8", errors="replace") as log:
            log.seek(0, 2)
            rest = ""
            while True:
                read = log.read()
                *lines, rest = (rest + read).split("\n")
                for line in lines:
                    sys.stdout.write(self._pretty(line) + "\n")
                sys.stdout.flush()
                if not read and self._ended.wait(0.2):
                    return

    def _pretty(self, line: str) -> str:
        if self._render is None:
            return line
        try:
            event: dict[str, Any] = json.loads(line)
        except ValueError:
            return line
        method = str(event.get("level", "info"))
        return str(self._render(None, method, event))
