"""Commands one after the other, on the processors' time that nobody else wants."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

_NICENESS = 15
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True)
class Done:
    name: str
    status: int
    took_s: float
    output: str
    """Standard output and standard error."""


class Background:
    """Begins when entered; what still runs when it is left is ended."""

    def __init__(self, commands: Mapping[str, Sequence[str]], *, folder: Path) -> None:
        """`folder`: where the commands run."""
        self._commands = commands
        self._folder = folder
        self._done: list[Done] = []
        self._running: subprocess.Popen[bytes] | None = None
        self._left = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="background checks")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._left = True
            running = self._running
        if running is not None:
            _end(running)
        self._thread.join()

    def results(self) -> Iterator[Done]:
        """All of them, once the last has ended."""
        self._thread.join()
        yield from self._done

    def _run(self) -> None:
        for name, command in self._commands.items():
            began = time.monotonic()
            with tempfile.TemporaryFile() as output:
                with self._lock:
                    if self._left:
                        return
                    try:
                        # A session of its own: Linux shares time out to sessions first (autogroup), and
                        # what is started here must not have what the session of the others leaves.
                        self._running = subprocess.Popen(  # noqa: S603 - ours
                            ["nice", "-n", str(_NICENESS), *command],  # noqa: S607 - POSIX has it
                            cwd=self._folder,
                            stdin=subprocess.DEVNULL,
                            stdout=output,
                            stderr=subprocess.STDOUT,
                            start_new_session=True,
                        )
                    except OSError as error:
                        self._done.append(Done(name, 127, 0.0, str(error)))
                        continue
                _yield_to_others(self._running.pid)
                status = self._running.wait()
                output.seek(0)
                text = output.read().decode(errors="replace")
            self._done.append(Done(name, status, time.monotonic() - began, text))


def _yield_to_others(process: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{process}/autogroup").write_text(str(_NICENESS))


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all that it started and that stayed in its session."""
    for one in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, one)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_S)
            return
