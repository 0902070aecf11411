"""When people write: arrivals along a curve, reproducible by their seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Curve(StrEnum):
    """How the rate moves over a run; `rate` is its highest value."""

    STEADY = "steady"
    RAMP = "ramp"
    """From nothing up to the rate."""
    WAVE = "wave"
    """A day: from a tenth up to the rate and back."""
    SPIKE = "spike"
    """A quarter of the rate, and all of it in the middle fifth."""

    def share(self, progress: float) -> float:
        """Of the highest rate, at `progress` from 0 to 1 through the run."""
        return _SHARES[self](progress)


def _wave(progress: float) -> float:
    return 0.1 + 0.9 * math.sin(math.pi * progress) ** 2


def _spike(progress: float) -> float:
    return 1.0 if 0.4 <= progress < 0.6 else 0.25


_SHARES: dict[Curve, Callable[[float], float]] = {
    Curve.STEADY: lambda _: 1.0,
    Curve.RAMP: lambda progress: progress,
    Curve.WAVE: _wave,
    Curve.SPIKE: _spike,
}


@dataclass(frozen=True, slots=True)
class TrafficPlan:
    """What one run sends. `rate` is messages a second at the curve's top, `seconds` how long it lasts."""

    rate: float
    seconds: float
    curve: Curve = Curve.STEADY
    voice_share: float = 0.2
    """Of the messages."""
    burst: float = 1.5
    """Messages that a person writes in a row, on average."""
    owners: int = 5
    people: int = 2_000
    """Different phones; they come back once all have written."""
    max_messages: int = 100_000
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Burst:
    """A person who writes a few messages in a row. `pauses_s` come before each message but the first;
    `voice` tells which are voice notes."""

    at_s: float
    person: int
    owner: int
    voice: tuple[bool, ...]
    pauses_s: tuple[float, ...]

    @property
    def messages(self) -> int:
        return len(self.voice)


def bursts(plan: TrafficPlan) -> Iterator[Burst]:
    """Poisson arrivals whose intensity follows the curve, by thinning; at most `max_messages` messages."""
    random = Random(plan.seed)  # noqa: S311 - traffic, no secret
    top = plan.rate / plan.burst
    at, sent, number = 0.0, 0, 0
    while sent < plan.max_messages:
        at += random.expovariate(top)
        if at >= plan.seconds:
            return
        if random.random() >= plan.curve.share(at / plan.seconds):
            continue
        length = min(_geometric(random, plan.burst), plan.max_messages - sent)
        yield Burst(
            at_s=at,
            person=number % plan.people,
            owner=number % plan.owners,
            voice=tuple(random.random() < plan.voice_share for _ in range(length)),
            pauses_s=tuple(random.uniform(0.1, 0.6) for _ in range(length - 1)),
        )
        number += 1
        sent += length


def _geometric(random: Random, mean: float) -> int:
    """At least one."""
    length = 1
    while random.random() < 1 - 1 / mean and length < 20:
        length += 1
    return length
