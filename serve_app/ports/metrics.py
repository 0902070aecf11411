"""Figures of the running service."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Instrument:
    """One metric, named as Prometheus' conventions ask; `serve_app.ops.instruments` lists them all.

    `labels` maps each label to all of its values, so that no label set can grow without bound.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    buckets: tuple[float, ...] = ()
    """Upper bounds of a histogram, in the unit of its name."""


class Metrics(Protocol):
    """Where figures are written down, at once and without I/O. Never raises for what is recorded: a
    label that its instrument doesn't know is logged and dropped."""

    def add(self, counter: Instrument, value: float = 1.0, /, **labels: str) -> None: ...

    def set(self, gauge: Instrument, value: float, /, **labels: str) -> None: ...

    def observe(self, histogram: Instrument, value: float, /, **labels: str) -> None: ...
