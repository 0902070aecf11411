"""What `--quick` makes of each benchmark: all together in less than five minutes on two idle cores."""

from __future__ import annotations

from typing import Any

QUICK: dict[str, dict[str, Any]] = {
    "chat": {"rounds": 2},
    "speech": {"clips": 8, "rounds": 1, "against": ["transcribe"]},
    "queue": {"jobs": 1_000, "rounds": 1, "install": False},
    "turn": {"turns": 200, "rounds": 1},
    "ack": {"rounds": 2, "seconds": 1.0},
    "scale": {
        "messages": 150,
        "max_replicas": 2,
        "downscale_delay_s": 4.0,
        "to_zero_delay_s": 4.0,
        "limit_s": 75.0,
    },
}
"""By command and option, in the order in which `recado bench all` runs them."""

PLOTTED = frozenset({"chat", "speech", "queue", "ack", "scale"})
QUICK_LIMIT_S, LIMIT_S = 120.0, 3_600.0
"""Of one part in `recado bench all`."""
QUICK_TOTAL_S = 290.0
"""Of all parts of `--quick` together: what a busy machine has no time for is cut off or left out, and named
as failed."""
