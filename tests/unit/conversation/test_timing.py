"""Steps on the scale of the person who waits."""

from __future__ import annotations

from datetime import timedelta

import pytest

from serve_app.conversation.timing import StepTimer
from tests.unit.conversation.stage import NOON, ManualClock


def test_zero_is_the_acceptance() -> None:
    clock = ManualClock(NOON + timedelta(seconds=3))
    timer = StepTimer(clock=clock)
    with timer.step("record"):
        clock.advance(0.5)
    timer.accepted_at(NOON)
    clock.advance(0.25)
    with timer.step("answer"):
        clock.advance(2)
    assert [(s.step, s.started_s, s.seconds) for s in timer.steps] == [
        ("queued", 0.0, 3.0),
        ("record", 3.0, 0.5),
        ("answer", 3.75, 2.0),
    ]


def test_a_clock_that_is_behind_makes_no_negative_wait() -> None:
    clock = ManualClock(NOON)
    timer = StepTimer(clock=clock)
    timer.accepted_at(NOON + timedelta(seconds=60))
    with timer.step("record"):
        clock.advance(1)
    assert [(s.step, s.started_s, s.seconds) for s in timer.steps] == [
        ("queued", 0.0, 0.0),
        ("record", 0.0, 1.0),
    ]


def test_a_step_that_fails_is_timed_too() -> None:
    clock = ManualClock()
    timer = StepTimer(clock=clock)

    def fail() -> None:
        with timer.step("answer"):
            clock.advance(4)
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        fail()
    assert [(s.step, s.seconds) for s in timer.steps] == [("answer", 4.0)]
