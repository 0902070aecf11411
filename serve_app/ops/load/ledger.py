"""What was sent and what came of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Sent:
    """One message. Times are seconds since the epoch."""

    person: str
    at: float
    voice: bool
    acknowledged_s: float | None = None
    answered_at: float | None = None


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Seconds."""

    count: int
    p50: float
    p95: float
    p99: float
    worst: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Quantiles:
        """All zero if there are no values."""
        if not values:
            return cls(0, 0.0, 0.0, 0.0, 0.0)
        ordered = sorted(values)
        return cls(
            count=len(ordered),
            p50=_at(ordered, 0.5),
            p95=_at(ordered, 0.95),
            p99=_at(ordered, 0.99),
            worst=ordered[-1],
        )


def _at(ordered: Sequence[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, max(0, math.ceil(q * len(ordered)) - 1))]


class Ledger:
    """Matches replies to messages: a reply answers all that its person had written until then, and the
    wait is counted from the last of those."""

    def __init__(self) -> None:
        self.sent: list[Sent] = []
        self.errors: Counter[str] = Counter()
        self.replies = 0
        self.waits: list[float] = []
        """From a person's last message to the reply that answers it."""
        self._people: set[str] = set()
        self._open: dict[str, deque[Sent]] = defaultdict(deque)

    def send(self, person: str, *, at: float, voice: bool) -> Sent:
        message = Sent(person, at, voice)
        self.sent.append(message)
        self._people.add(person)
        # Before the answer to the webhook is there, the reply may be.
        self._open[person].append(message)
        return message

    def acknowledged(self, message: Sent, *, status: int | None, seconds: float) -> None:
        """A refused webhook is an error, and no reply is waited for."""
        if status == 200:
            message.acknowledged_s = seconds
        else:
            self.failed(f"webhook answered {status or 'nothing'}", message)

    def failed(self, error: str, message: Sent | None = None) -> None:
        """`message` wasn't accepted: nobody waits for its reply."""
        self.errors[error] += 1
        waiting = self._open.get(message.person) if message is not None else None
        if waiting is not None and message in waiting:
            waiting.remove(message)
            self._forget_if_done(message.person)

    def replied(self, person: str, *, at: float) -> None:
        if person not in self._people:
            return
        self.replies += 1
        waiting = self._open.get(person, ())
        answered = [message for message in waiting if message.at <= at]
        if not answered:
            return
        for message in answered:
            message.answered_at = at
            self._open[person].remove(message)
        self.waits.append(at - answered[-1].at)
        self._forget_if_done(person)

    def _forget_if_done(self, person: str) -> None:
        if not self._open[person]:
            del self._open[person]

    @property
    def open(self) -> int:
        """Messages without a reply."""
        return sum(len(waiting) for waiting in self._open.values())

    @property
    def acknowledgements(self) -> list[float]:
        return [m.acknowledged_s for m in self.sent if m.acknowledged_s is not None]
