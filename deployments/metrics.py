"""The port `Metrics` on Ray: every process of the cluster hands its figures to its node's agent, which
exports them for Prometheus."""

from __future__ import annotations

import structlog
from ray.util.metrics import Counter, Gauge, Histogram

from serve_app.ops.instruments import ALL, unknown_labels
from serve_app.ports import Instrument

log = structlog.get_logger(__name__)


class RayMetrics:
    """`serve_app.ports.Metrics`. One per process: Ray's metrics are registered by name."""

    def __init__(self) -> None:
        # Made at once: the first use would cost a webhook what registering costs.
        self._counters = {
            each.name: Counter(each.name, each.help, tag_keys=tuple(each.labels))
            for each in ALL
            if each.kind == "counter"
        }
        self._gauges = {
            each.name: Gauge(each.name, each.help, tag_keys=tuple(each.labels))
            for each in ALL
            if each.kind == "gauge"
        }
        self._histograms = {
            each.name: Histogram(
                each.name,
                each.help,
                boundaries=[float(bound) for bound in each.buckets],
                tag_keys=tuple(each.labels),
            )
            for each in ALL
            if each.kind == "histogram"
        }
        self._accepted: set[tuple[object, ...]] = set()
        self._refused: set[str] = set()

    def add(self, counter: Instrument, value: float = 1.0, /, **labels: str) -> None:
        if value > 0 and self._accepts(counter, labels):
            self._counters[counter.name].inc(value, labels)

    def set(self, gauge: Instrument, value: float, /, **labels: str) -> None:
        if self._accepts(gauge, labels):
            self._gauges[gauge.name].set(value, labels)

    def observe(self, histogram: Instrument, value: float, /, **labels: str) -> None:
        if self._accepts(histogram, labels):
            self._histograms[histogram.name].observe(value, labels)

    def _accepts(self, instrument: Instrument, labels: dict[str, str]) -> bool:
        # Few: a label holds nothing that comes from outside.
        combination = (instrument.name, *labels.items())
        if combination in self._accepted:
            return True
        problem = unknown_labels(instrument, labels)
        if problem is None:
            self._accepted.add(combination)
        if problem is not None and problem not in self._refused:
            self._refused.add(problem)
            log.error("metric_refused", problem=problem)
        return problem is None
