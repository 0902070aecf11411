"""Looks for the highest rate that holds: doubling until one doesn't, then halving the gap."""

from __future__ import annotations

MOST_STEPS = 10
PRECISION = 1.15
"""Good enough when the lowest rate that failed is less than this many times the highest that held."""


class Search:
    """`next_rate` until it is None, each followed by `note`."""

    def __init__(self, *, start: float, highest: float = 2_000.0) -> None:
        self._highest = highest
        self._next: float | None = start
        self._steps = 0
        self.best: float | None = None
        self._failed: float | None = None

    @property
    def next_rate(self) -> float | None:
        return self._next if self._steps < MOST_STEPS else None

    def note(self, rate: float, *, held: bool) -> None:
        self._steps += 1
        if held:
            self.best = rate if self.best is None else max(self.best, rate)
        else:
            self._failed = rate if self._failed is None else min(self._failed, rate)
        self._next = self._choose()

    def _choose(self) -> float | None:
        if self._failed is None:
            return None if self.best == self._highest else min(self._highest, 2 * (self.best or 1))
        if self.best is None:
            return self._failed / 2 if self._failed > 0.2 else None
        if self._failed / self.best < PRECISION:
            return None
        return round((self.best * self._failed) ** 0.5, 2)
