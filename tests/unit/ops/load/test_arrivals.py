"""When people write: rates, curves, bursts, and the same again with the same seed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from serve_app.ops.load.arrivals import Curve, TrafficPlan, bursts

PLAN = TrafficPlan(rate=200, seconds=50, voice_share=0.25, burst=2.0, owners=7, people=300)


def test_the_rate_counts_messages_whatever_the_bursts() -> None:
    sent = list(bursts(PLAN))
    messages = sum(burst.messages for burst in sent)
    assert messages == pytest.approx(200 * 50, rel=0.06)
    assert messages / len(sent) == pytest.approx(2.0, rel=0.06)
    assert sum(sum(burst.voice) for burst in sent) / messages == pytest.approx(0.25, rel=0.1)
    assert {burst.owner for burst in sent} == set(range(7))
    assert {burst.person for burst in sent} == set(range(300))
    assert all(len(burst.pauses_s) == burst.messages - 1 for burst in sent)


def test_one_message_each() -> None:
    assert {burst.messages for burst in bursts(replace(PLAN, burst=1.0))} == {1}


def test_the_same_seed_sends_the_same_and_another_does_not() -> None:
    assert list(bursts(PLAN)) == list(bursts(PLAN))
    assert list(bursts(PLAN)) != list(bursts(replace(PLAN, seed=2)))


@pytest.mark.parametrize(
    ("curve", "shares"),
    [
        (Curve.STEADY, (0.2, 0.2, 0.2, 0.2, 0.2)),
        (Curve.RAMP, (0.04, 0.12, 0.2, 0.28, 0.36)),
        (Curve.SPIKE, (0.125, 0.125, 0.5, 0.125, 0.125)),
    ],
)
def test_the_curve_is_followed(curve: Curve, shares: tuple[float, ...]) -> None:
    sent = list(bursts(replace(PLAN, curve=curve)))
    fifths = [sum(int(burst.at_s // 10) == n for burst in sent) for n in range(5)]
    assert [n / len(sent) for n in fifths] == pytest.approx(shares, abs=0.035)


def test_a_wave_begins_and_ends_low() -> None:
    assert Curve.WAVE.share(0.0) == Curve.WAVE.share(1.0) == pytest.approx(0.1)
    assert Curve.WAVE.share(0.5) == pytest.approx(1.0)


def test_no_more_than_the_limit_is_sent() -> None:
    assert sum(b.messages for b in bursts(replace(PLAN, max_messages=101))) == 101
