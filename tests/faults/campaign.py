"""The rows, one after the other, and what is told of them."""

from __future__ import annotations

import time
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Literal, TypeVar

from tests.e2e.product import Product
from tests.faults.scoring import Score
from tests.faults.servers import Servers
from tests.faults.stage import Stage, open_stage

Scale = Literal["small", "full"]
T = TypeVar("T")


@dataclass
class Outcome:
    """What a row saw. `failures` are what it must show and didn't."""

    load: str
    score: Score | None = None
    figures: dict[str, object] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    ordered: bool = True
    """False where the row allows a conversation's messages to overtake each other."""

    def must(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.failures.append(otherwise)


@dataclass
class Context:
    """What a row is given."""

    servers: Servers
    folder: Path
    scale: Scale
    seed: int
    product: Callable[[], Product]
    """The one that `recado up` started, for rows about Ray; started on first use."""

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.folder.mkdir(parents=True, exist_ok=True)

    def size(self, *, small: T, full: T) -> T:
        return full if self.scale == "full" else small

    @asynccontextmanager
    async def stage(self, name: str = "", **options: Any) -> AsyncGenerator[Stage]:
        folder = self.folder / name if name else self.folder
        folder.mkdir(exist_ok=True)
        async with open_stage(self.servers, folder=folder, random=self.random, **options) as stage:
            yield stage


@dataclass(frozen=True)
class Row:
    """`ray` rows run on `recado up` and not on the campaign's own processes."""

    name: str
    fault: str
    must: str
    run: Callable[[Context], Awaitable[Outcome]]
    ray: bool = False


@dataclass(frozen=True)
class Report:
    row: Row
    outcome: Outcome
    seconds: float
    seed: int

    @property
    def passed(self) -> bool:
        return not self.outcome.failures


async def run_row(row: Row, context: Context) -> Report:
    """A row that breaks is a row that failed, not the campaign's end."""
    began = time.monotonic()
    try:
        outcome = await row.run(context)
        if outcome.score is not None:
            outcome.failures[:0] = outcome.score.failures(ordered=outcome.ordered)
    except Exception as error:
        (context.folder / "error.txt").write_text(traceback.format_exc())
        outcome = Outcome("", failures=[f"the row broke: {type(error).__name__}: {error}"])
    return Report(row, outcome, time.monotonic() - began, context.seed)
