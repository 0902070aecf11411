"""Ratios of sides that were measured in turn."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from statistics import median


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Median of the rounds' ratios: what disturbs a whole round cancels out."""
    return round(median(a / b for a, b in zip(ours, theirs, strict=True)), 3)


def ratios(
    rates: Mapping[str, Sequence[float]], targets: Mapping[str, float], *, of: str
) -> dict[str, float]:
    """Our rate over each peer's, with the target in the name."""
    ours = rates["recado"]
    return {
        f"{of} against {side}"
        + (f" (target {targets[side]:g} or more)" if side in targets else ""): ratio(ours, theirs)
        for side, theirs in rates.items()
        if side != "recado"
    }


def load_average() -> str:
    """Over the last minute: what else this machine was doing is in it."""
    return f"{os.getloadavg()[0]:.1f}"
