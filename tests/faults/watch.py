"""What the campaign puts around the product's own parts in its processes: a journal of what they did, and
points at which a process dies or freezes when it is told to.

The product knows nothing of it: the parts are wrapped where they are introduced to each other.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from models.errors import StaleClaimError
from models.jobs import Claim

_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Orders:
    """Files in a folder: `after-commit.kill` asks the first process that gets to that point to kill itself,
    `after-take.stop` to freeze. Whoever moves the file away obeys."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def give(self, point: str, how: str = "kill") -> None:
        (self._folder / f"{point}.{how}").touch()

    def withdraw(self) -> None:
        for how in _SIGNALS:
            for order in self._folder.glob(f"*.{how}"):
                order.unlink(missing_ok=True)

    def obeyed(self, point: str, how: str = "kill") -> bool:
        return not (self._folder / f"{point}.{how}").exists()

    def frozen(self, point: str) -> int | None:
        """The process that froze itself there, told once."""
        for taken in self._folder.glob(f"{point}.stop-*"):
            taken.unlink()
            return int(taken.suffix.removeprefix(".stop-"))
        return None

    def obey(self, point: str) -> None:
        for how, number in _SIGNALS.items():
            order = self._folder / f"{point}.{how}"
            try:
                order.rename(order.with_suffix(f".{how}-{os.getpid()}"))
            except FileNotFoundError:
                continue
            os.kill(os.getpid(), number)


class Journal:
    """JSON lines, one write each, so that what was written before a SIGKILL is there after it."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, event: str, **fields: object) -> None:
        line = {"at": round(time.time(), 4), "pid": os.getpid(), "event": event, **fields}
        os.write(self._descriptor, (json.dumps(line) + "\n").encode())

    def close(self) -> None:
        os.close(self._descriptor)


def read_journals(folder: Path) -> list[dict[str, Any]]:
    """Every line of every journal in the folder, by time."""
    lines = [
        json.loads(line)
        for file in folder.glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return sorted(lines, key=lambda line: line["at"])


class Watched:
    """`target` with some of its coroutine methods watched: `points` names where a process may be told to
    die after the call, `noted` the calls that the journal gets."""

    def __init__(
        self,
        target: Any,
        *,
        orders: Orders,
        journal: Journal,
        points: Mapping[str, str] | None = None,
        noted: tuple[str, ...] = (),
    ) -> None:
        self._target = target
        self._orders = orders
        self._journal = journal
        self._points = points or {}
        self._noted = frozenset(noted)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._target, name)
        if name not in self._points and name not in self._noted:
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            try:
                result = await found(*args, **kwargs)
            except StaleClaimError:
                self._journal.write(name, outcome="stale", **_subject(args))
                raise
            if result != []:
                if name in self._noted:
                    claims = result if name in ("take", "reclaim") else [*args[:1]]
                    for claim in claims:
                        self._journal.write(name, outcome="ok", **_subject((claim,)))
                if name in self._points:
                    self._orders.obey(self._points[name])
            return result

        return call


def _subject(args: tuple[Any, ...]) -> dict[str, object]:
    if not args or not isinstance(args[0], Claim):
        return {}
    claim = args[0]
    return {
        "entry": claim.entry_id,
        "conversation": claim.conversation[-24:],
        "deliveries": claim.deliveries,
        "jobs": [job.id for job in claim.jobs],
    }
