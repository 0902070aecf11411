"""Metrics in memory."""

from __future__ import annotations

from collections import defaultdict

import structlog

from serve_app.ops.instruments import unknown_labels
from serve_app.ports import Instrument

log = structlog.get_logger(__name__)

_Labels = tuple[tuple[str, str], ...]


class MemoryMetrics:
    """`counts` are sums of counters and last values of gauges, `seen` all values of histograms."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, _Labels], float] = defaultdict(float)
        self._seen: dict[tuple[str, _Labels], list[float]] = defaultdict(list)
        self.refused: list[str] = []
        """What labels were wrong; a test should find this empty."""

    def add(self, counter: Instrument, value: float = 1.0, /, **labels: str) -> None:
        if value > 0 and self._accepts(counter, "counter", labels):
            self._values[_key(counter, labels)] += value

    def set(self, gauge: Instrument, value: float, /, **labels: str) -> None:
        if self._accepts(gauge, "gauge", labels):
            self._values[_key(gauge, labels)] = value

    def observe(self, histogram: Instrument, value: float, /, **labels: str) -> None:
        if self._accepts(histogram, "histogram", labels):
            self._seen[_key(histogram, labels)].append(value)

    def value(self, instrument: Instrument, **labels: str) -> float:
        """Of a counter or gauge, 0 if it was never touched."""
        return self._values.get(_key(instrument, labels), 0.0)

    def by_label(self, instrument: Instrument, label: str) -> dict[str, float]:
        """A counter summed by one of its labels."""
        sums: dict[str, float] = {}
        for (name, labels), value in self._values.items():
            if name == instrument.name:
                key = dict(labels)[label]
                sums[key] = sums.get(key, 0.0) + value
        return sums

    def seen(self, histogram: Instrument, **labels: str) -> list[float]:
        return list(self._seen.get(_key(histogram, labels), ()))

    def _accepts(self, instrument: Instrument, kind: str, labels: dict[str, str]) -> bool:
        problem = unknown_labels(instrument, labels)
        if instrument.kind != kind:
            problem = f"{instrument.name} is a {instrument.kind}, not a {kind}"
        if problem is None:
            return True
        self.refused.append(problem)
        log.error("metric_refused", problem=problem)
        return False


def _key(instrument: Instrument, labels: dict[str, str]) -> tuple[str, _Labels]:
    return instrument.name, tuple(sorted(labels.items()))
