"""What the commands say: steps while they work, one line when something is wrong."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False, soft_wrap=True)


def fail(message: str) -> None:
    """One line on standard error."""
    errors.print(f"[bold red]recado:[/] {_plain(' '.join(message.split()))}")


class Steps(Protocol):
    """Where a long command tells what it does."""

    @contextmanager
    def step(self, doing: str) -> Generator[None]:
        """Around one step; `doing` reads as "starting the local stores"."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing that is no step."""
        ...


class PrintedSteps:
    """A line per step when it is done, with its time."""

    @contextmanager
    def step(self, doing: str) -> Generator[None]:
        began = time.monotonic()
        yield
        print_step(doing, time.monotonic() - began)

    def note(self, text: str) -> None:
        console.print(f"  [yellow]•[/] {_plain(text)}")


class PipedSteps:
    """JSON lines into a pipe, for a process that prints them elsewhere; it may be gone."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @contextmanager
    def step(self, doing: str) -> Generator[None]:
        began = time.monotonic()
        self.send({"doing": doing})
        yield
        self.send({"step": doing, "took_s": time.monotonic() - began})

    def note(self, text: str) -> None:
        self.send({"note": text})

    def send(self, message: dict[str, object]) -> None:
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except OSError:
            # Whoever listened has left; the log tells the rest.
            return


def print_step(doing: str, took_s: float) -> None:
    console.print(f"  [green]✓[/] {_plain(doing)} [dim]{took_s:.1f} s[/]")


def _plain(text: str) -> str:
    """Brackets in paths and addresses are no markup."""
    return text.replace("[", r"\[")
