"""The targets that `recado bench all` compares its parts' reports with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

Report = Mapping[str, Any]

MORE_ERRORS = 0.3
"""Percent of the words by which ours may be worse."""


@dataclass(frozen=True, slots=True)
class Target:
    """`read` takes the figure out of the report of `part`; KeyError or TypeError say that it isn't there.
    `given` is what must hold besides for the figure to count."""

    part: str
    what: str
    against: str
    bound: float
    read: Callable[[Report], float]
    unit: str = "times"
    at_most: bool = False
    given: Callable[[Report], bool] = lambda report: True

    def met(self, figure: float, report: Report) -> bool:
        reached = figure <= self.bound if self.at_most else figure >= self.bound
        return reached and self.given(report)


def _ratio(start: str) -> Callable[[Report], float]:
    def read(report: Report) -> float:
        for name, value in report["ratios"].items():
            # Not another peer whose name goes on: "transcribe, a worker a core".
            if name.startswith(start) and not name.startswith(f"{start},"):
                return float(value)
        raise KeyError(start)

    return read


def _as_well_heard(load: str, *, by: str = "recado") -> Callable[[Report], bool]:
    """Hearing worse, than the peer or than ourselves with the full window, is no way to be faster."""

    def given(report: Report) -> bool:
        errors = report[f"word_error_rate_percent, {load}"]
        least = min(float(errors[side]) for side in ("recado", "transcribe"))
        return float(errors[by]) <= least + MORE_ERRORS

    return given


def _median(key: str, side: str) -> Callable[[Report], float]:
    return lambda report: float(median(report[key][side]))


TURNS_PER_CPU = "turns_per_cpu_second (target 100 or more)"
TARGETS: tuple[Target, ...] = (
    Target(
        "ack", "acknowledging, requests/s", "bare uvicorn", 1.0, _ratio("requests/s against bare")
    ),
    Target(
        "ack",
        "acknowledging, requests/s",
        "Serve's defaults",
        11.0,
        _ratio("requests/s against Serve"),
    ),
    Target(
        "ack",
        "acknowledging, p50 at one connection",
        "bare uvicorn",
        1.2,
        _ratio("p50"),
        unit="times as long",
        at_most=True,
    ),
    Target("queue", "working off, jobs/s", "taskiq-redis", 1.5, _ratio("jobs/s against taskiq")),
    Target(
        "queue", "publishing, jobs/s", "taskiq-redis", 2.0, _ratio("published/s against taskiq")
    ),
    Target("queue", "working off, jobs/s", "arq", 5.0, _ratio("jobs/s against arq")),
    Target(
        "queue", "working off, jobs/s", "Ray's Celery adapter", 2.0, _ratio("jobs/s against celery")
    ),
    Target(
        "turn",
        "whole turns, instant models",
        "",
        100.0,
        _median(TURNS_PER_CPU, "1 worker process"),
        unit="turns per CPU second",
    ),
    Target(
        "turn",
        "turns per CPU second, two workers",
        "one worker",
        0.9,
        _ratio("turns per CPU second"),
    ),
    Target(
        "speech",
        "speech, CPU, mixed clips, full window",
        "transcribe",
        1.5,
        _ratio("clips/s against transcribe"),
        given=_as_well_heard("clips"),
    ),
    Target(
        "speech",
        "speech, CPU, notes as recorded, full window",
        "transcribe",
        1.5,
        _ratio("notes/s against transcribe"),
        given=_as_well_heard("notes"),
    ),
    *(
        Target(
            "speech",
            f"speech, CPU, {what}, short windows",
            "transcribe",
            3.0,
            _ratio(f"{load}/s with short windows against transcribe"),
            given=_as_well_heard(load, by="recado, short windows"),
        )
        for load, what in (("clips", "mixed clips"), ("notes", "notes as recorded"))
    ),
    Target(
        "speech",
        "batch fill, speech",
        "",
        85.0,
        lambda report: float(report["batch_fill_percent"]),
        unit="%",
    ),
    Target(
        "chat", "chat, CPU, 8 conversations", "sequential generate", 2.5, _ratio("tokens/s against")
    ),
    Target(
        "chat",
        "batch fill, chat",
        "",
        85.0,
        lambda report: float(report["batch_fill_percent"]),
        unit="%",
    ),
    Target(
        "scale",
        "burst, a second Worker runs",
        "",
        15.0,
        lambda report: float(report["replicas"]["Worker"]["second_running_after_s"]),
        unit="s after it began",
        at_most=True,
    ),
)


def compare(reports: Mapping[str, Report]) -> list[dict[str, object]]:
    """Every target, with what was reached; None where its part or its peer has no figure."""
    rows: list[dict[str, object]] = []
    for target in TARGETS:
        try:
            figure: float | None = target.read(reports[target.part])
        except (KeyError, TypeError):
            figure = None
        rows.append(
            {
                "part": target.part,
                "what": target.what,
                "against": target.against,
                "target": f"{'at most' if target.at_most else 'at least'} {target.bound:g} {target.unit}",
                "reached": None if figure is None else round(figure, 2),
                "met": None if figure is None else target.met(figure, reports[target.part]),
            }
        )
    return rows
