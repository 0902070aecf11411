"""Reads what Ray exports for Prometheus, for commands that have no Prometheus at hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from serve_app.ports import Instrument

PREFIX = "ray_"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


class Scrape:
    """Sums over processes, by metric and by its own labels."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    @classmethod
    def parse(cls, text: str) -> Scrape:
        """Keeps Recado's metrics only."""
        lines = [line for line in text.splitlines() if _ours(line)]
        samples: Samples = defaultdict(float)
        for family in text_string_to_metric_families("\n".join(lines) + "\n"):
            for sample in family.samples:
                own = {k: v for k, v in sample.labels.items() if k[0].islower() and "otel" not in k}
                samples[sample.name.removeprefix(PREFIX), tuple(sorted(own.items()))] += (
                    sample.value
                )
        return cls(dict(samples))

    def since(self, earlier: Scrape) -> Scrape:
        """What was added; for counters and histograms."""
        return Scrape(
            {key: value - earlier._samples.get(key, 0.0) for key, value in self._samples.items()}
        )

    def total(self, counter: Instrument, **labels: str) -> float:
        """Summed over the labels that aren't given."""
        return sum(value for _, value in self._matching(counter.name, labels))

    def count(self, histogram: Instrument, **labels: str) -> int:
        return int(sum(value for _, value in self._matching(f"{histogram.name}_count", labels)))

    def quantile(self, histogram: Instrument, q: float, **labels: str) -> float | None:
        """As Prometheus' histogram_quantile: within a bucket by interpolation. None without values."""
        buckets: dict[float, float] = defaultdict(float)
        for own, value in self._matching(f"{histogram.name}_bucket", labels):
            buckets[float(own["le"])] += value
        bounds = sorted(buckets)
        if not bounds or buckets[bounds[-1]] <= 0:
            return None
        rank = q * buckets[bounds[-1]]
        low, below = 0.0, 0.0
        for bound in bounds:
            if buckets[bound] >= rank:
                if bound == float("inf"):
                    return low
                inside = buckets[bound] - below
                return low + (bound - low) * ((rank - below) / inside if inside else 1.0)
            low, below = bound, buckets[bound]
        return low

    def _matching(
        self, name: str, labels: dict[str, str]
    ) -> Iterator[tuple[dict[str, str], float]]:
        for (sample, own), value in self._samples.items():
            if sample == name:
                given = dict(own)
                if all(given.get(label) == wanted for label, wanted in labels.items()):
                    yield given, value


async def scrape(http: httpx2.AsyncClient, url: str) -> Scrape:
    """Raises httpx2' errors."""
    answer = await http.get(url)
    answer.raise_for_status()
    return Scrape.parse(answer.text)


def _ours(line: str) -> bool:
    return line.startswith((f"{PREFIX}recado_", f"# TYPE {PREFIX}recado_"))
