"""Metrics for whoever has nowhere to write them: commands, benchmarks, tests of something else."""

from __future__ import annotations

from serve_app.ports import Instrument


class Unmeasured:
    """`serve_app.ports.Metrics` that keeps nothing."""

    def add(self, counter: Instrument, value: float = 1.0, /, **labels: str) -> None:
        """Nothing is kept."""

    def set(self, gauge: Instrument, value: float, /, **labels: str) -> None:
        """Nothing is kept."""

    def observe(self, histogram: Instrument, value: float, /, **labels: str) -> None:
        """Nothing is kept."""
