"""The product's processes, seen from the campaign: started by forking one that has everything imported, so
that a dozen cost little and a killed one is replaced within a tenth of a second, as Ray Serve would."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess

from tests.faults.actor import Part, play

_context = get_context("forkserver")
_context.set_forkserver_preload(["tests.faults.actor"])


class Actor:
    """One place in the product: whatever process holds it now."""

    def __init__(self, part: Part) -> None:
        self._part = part
        self._process: ForkServerProcess | None = None

    @property
    def name(self) -> str:
        return self._part.name

    @property
    def role(self) -> str:
        return self._part.role

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.is_alive()

    def start(self, **changes: object) -> None:
        self._part = replace(self._part, **changes)
        self._process = _context.Process(target=play, args=(self._part,), daemon=True)
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait(10)

    def wait(self, seconds: float) -> bool:
        """Whether it has ended."""
        assert self._process is not None
        self._process.join(seconds)
        return not self._process.is_alive()

    def stop(self, *, patience_s: float = 15.0) -> None:
        """Drain, or else kill."""
        if self._process is None:
            return
        self.send(signal.SIGCONT)
        self.send(signal.SIGTERM)
        if not self.wait(patience_s):
            self.kill()
        self._process.close()
        self._process = None


def until(condition: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
