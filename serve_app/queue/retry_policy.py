"""When a failed turn is tried again."""

from __future__ import annotations

from random import Random


def retry_delay(
    attempt: int, *, base_s: float, cap_s: float, random: Random, retry_after: float | None = None
) -> float:
    """Seconds until the next try after `attempt` earlier failures: uniform(0, min(cap, base * 2**attempt)).

    Full jitter spreads the retries of turns that failed together. Never less than `retry_after`, which
    may exceed the cap: whoever asked for it knows better.
    """
    # 2**64 exceeds every cap; larger exponents would overflow a float.
    ceiling = min(cap_s, base_s * 2.0 ** min(max(attempt, 0), 64))
    return max(random.uniform(0.0, ceiling), retry_after or 0.0)
