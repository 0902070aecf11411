"""Which reply answers what, and how long that took."""

from __future__ import annotations

import pytest

from serve_app.ops.load.ledger import Ledger, Quantiles


def test_a_reply_answers_a_burst_and_counts_from_its_last_message() -> None:
    ledger = Ledger()
    for at in (10.0, 10.4):
        ledger.acknowledged(ledger.send("a", at=at, voice=False), status=200, seconds=0.002)
    assert ledger.open == 2
    ledger.replied("a", at=11.5)
    assert ledger.open == 0
    assert ledger.waits == pytest.approx([1.1])
    assert ledger.acknowledgements == [0.002, 0.002]


def test_a_message_after_the_reply_waits_for_the_next() -> None:
    ledger = Ledger()
    ledger.send("a", at=10.0, voice=False)
    ledger.send("a", at=12.0, voice=False)
    ledger.replied("a", at=11.0)
    assert ledger.open == 1
    ledger.replied("a", at=13.0)
    assert (ledger.open, ledger.replies) == (0, 2)
    assert ledger.waits == pytest.approx([1.0, 1.0])


def test_a_further_reply_is_counted_and_answers_nothing() -> None:
    ledger = Ledger()
    ledger.send("a", at=10.0, voice=False)
    ledger.replied("a", at=11.0)
    ledger.replied("a", at=12.0)
    assert (ledger.open, ledger.replies) == (0, 2)
    assert ledger.waits == pytest.approx([1.0])


def test_nobody_waits_for_the_reply_to_a_refused_message() -> None:
    ledger = Ledger()
    ledger.acknowledged(ledger.send("a", at=1.0, voice=True), status=503, seconds=0.1)
    ledger.acknowledged(ledger.send("b", at=1.0, voice=True), status=None, seconds=15.0)
    assert ledger.open == 0
    assert dict(ledger.errors) == {"webhook answered 503": 1, "webhook answered nothing": 1}


def test_somebody_elses_reply_is_ignored() -> None:
    ledger = Ledger()
    ledger.replied("stranger", at=1.0)
    assert (ledger.replies, ledger.waits) == (0, [])


def test_quantiles_by_nearest_rank() -> None:
    found = Quantiles.of([float(n) for n in range(1, 101)])
    assert (found.p50, found.p95, found.p99, found.worst) == (50, 95, 99, 100)
    assert Quantiles.of([]).count == 0
