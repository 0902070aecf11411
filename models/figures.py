"""Figures about what the service did."""

from __future__ import annotations

from models.messages import Frozen


class StageFigures(Frozen):
    """How long one stage of turns took."""

    stage: str
    count: int
    p50_s: float
    p95_s: float
    p99_s: float
