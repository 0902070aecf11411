"""Whether everything that answering needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from models.errors import RecadoError
from serve_app.api.deadline import within

log = structlog.get_logger(__name__)

Check = Callable[[], Awaitable[None]]
"""Raises, with a line that says what is wrong, unless its part is ready."""


@dataclass(frozen=True, slots=True)
class ReadinessReport:
    """`problems` by the part's name. While `shedding` new messages are refused: everything works, and
    taking the replica out of service would help nobody."""

    problems: Mapping[str, str]
    parts: tuple[str, ...]
    shedding: str | None = None

    @property
    def ready(self) -> bool:
        return not self.problems

    def body(self) -> dict[str, object]:
        parts = {part: self.problems.get(part, "ok") for part in self.parts}
        working = "ready" if self.shedding is None else "shedding"
        status = working if self.ready else "not ready"
        if self.shedding is not None:
            parts["backlog"] = f"shedding: {self.shedding}"
        return {"status": status, "parts": parts}


class Readiness:
    """Asks all parts at once, each with a time limit."""

    def __init__(
        self,
        checks: Mapping[str, Check],
        *,
        timeout_s: float = 2.0,
        shedding: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`shedding` tells why new messages are refused, None if they aren't."""
        self._checks = dict(checks)
        self._timeout_s = timeout_s
        self._shedding = shedding

    async def report(self) -> ReadinessReport:
        answers = await asyncio.gather(*(self._ask(check) for check in self._checks.values()))
        problems = {
            part: answer for part, answer in zip(self._checks, answers, strict=True) if answer
        }
        return ReadinessReport(problems, tuple(self._checks), self._shedding())

    async def _ask(self, check: Check) -> str | None:
        try:
            await within(self._timeout_s, _run(check))
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except RecadoError as error:
            return str(error) or type(error).__name__
        except Exception as error:
            # Whatever a check trips over, the report must say which part it was; foreign texts may hold
            # addresses with passwords.
            log.exception("readiness_check_failed")
            return type(error).__name__
        return None


async def _run(check: Check) -> None:
    await check()
