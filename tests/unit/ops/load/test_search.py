"""How the highest rate is found."""

from __future__ import annotations

import pytest

from serve_app.ops.load.search import MOST_STEPS, PRECISION, Search


@pytest.mark.parametrize("limit", [0.6, 3.0, 17.0, 260.0])
def test_the_highest_rate_is_found_within_its_precision(limit: float) -> None:
    search = Search(start=5.0)
    steps = 0
    while (rate := search.next_rate) is not None:
        search.note(rate, held=rate <= limit)
        steps += 1
    assert search.best is not None
    assert search.best <= limit < search.best * PRECISION
    assert steps <= MOST_STEPS


def test_nothing_holds() -> None:
    search = Search(start=5.0)
    while (rate := search.next_rate) is not None:
        search.note(rate, held=False)
    assert search.best is None


def test_it_ends_at_the_highest_rate_that_may_be_tried() -> None:
    search = Search(start=500.0, highest=1_500.0)
    tried: list[float] = []
    while (rate := search.next_rate) is not None:
        search.note(rate, held=True)
        tried.append(rate)
    assert tried == [500.0, 1_000.0, 1_500.0]
