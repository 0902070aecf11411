from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from serve_app.queue.retry_policy import retry_delay


@given(
    attempt=st.integers(-1, 10_000),
    base_s=st.floats(0.001, 60),
    cap_s=st.floats(0.001, 3600),
    retry_after=st.none() | st.floats(0, 86_400),
    seed=st.integers(0, 1000),
)
def test_delays_stay_between_their_bounds(
    attempt: int, base_s: float, cap_s: float, retry_after: float | None, seed: int
) -> None:
    delay = retry_delay(
        attempt, base_s=base_s, cap_s=cap_s, random=Random(seed), retry_after=retry_after
    )
    ceiling = min(cap_s, base_s * 2 ** min(max(attempt, 0), 64))
    assert (retry_after or 0.0) <= delay <= max(ceiling, retry_after or 0.0)


def test_the_ceiling_doubles_until_the_cap() -> None:
    class Upper(Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == 0.0
            return b

    delays = [retry_delay(n, base_s=1.0, cap_s=10.0, random=Upper()) for n in range(6)]
    assert delays == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]


def test_jitter_spreads_the_retries() -> None:
    random = Random(7)
    delays = {round(retry_delay(3, base_s=1.0, cap_s=60.0, random=random), 3) for _ in range(50)}
    assert len(delays) > 40
    assert min(delays) < 2.0
    assert max(delays) > 6.0
