"""What went in against what came out, as Jepsen's total-queue counts it.

A token is one inbound message's mark. Every reply names the tokens that it answers.
"""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

TOKEN = re.compile(r"c\d+-\d+")


@dataclass
class Posted:
    """A message as its contact sees it: `accepted_at` is None if nobody ever answered 200."""

    token: str
    contact: str
    statuses: list[int | None] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    accepted_at: float | None = None
    begun_at: float = 0.0


@dataclass(frozen=True)
class Answer:
    """An outbound message that the provider accepted, at the time at which it was seen there."""

    cursor: int
    contact: str
    body: str
    at: float


@dataclass
class Score:
    """`refused` were never accepted, `parked` wait for a person: neither is lost. `extra` are outbound
    messages that name no token."""

    posted: int = 0
    accepted: int = 0
    refused: int = 0
    answered: int = 0
    parked: int = 0
    lost: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    duplicates: list[str] = field(default_factory=list)
    disorder: list[str] = field(default_factory=list)
    extra: int = 0
    recovery_p50_s: float = 0.0
    recovery_p99_s: float = 0.0
    answer_p99_ms: float = 0.0
    """Of webhooks, refusals included, as the provider measured it."""

    def failures(self, *, ordered: bool = True) -> list[str]:
        """What the promise doesn't allow."""
        found = {
            "lost": self.lost,
            "unexpected": self.unexpected,
            "answered twice": self.duplicates,
            "out of order": self.disorder if ordered else [],
        }
        return [
            f"{len(tokens)} {what}: {', '.join(tokens[:5])}"
            for what, tokens in found.items()
            if tokens
        ]


def score(
    posted: Iterable[Posted], answers: Iterable[Answer], *, parked: Collection[str] = ()
) -> Score:
    """`parked` are tokens whose reply or message waits for a person, and that must not be answered."""
    messages = {message.token: message for message in posted}
    result = Score(posted=len(messages), parked=len(parked))
    seen: Counter[str] = Counter()
    order: dict[str, list[str]] = defaultdict(list)
    waits: list[float] = []
    for answer in sorted(answers, key=lambda each: each.cursor):
        tokens = TOKEN.findall(answer.body)
        result.extra += not tokens
        for token in tokens:
            message = messages.get(token)
            if message is None or message.contact != answer.contact or token in parked:
                result.unexpected.append(token)
                continue
            seen[token] += 1
            if seen[token] > 1:
                result.duplicates.append(token)
                continue
            order[answer.contact].append(token)
            if message.accepted_at is not None:
                waits.append(max(0.0, answer.at - message.accepted_at))
    accepted = [message for message in messages.values() if message.accepted_at is not None]
    result.accepted = len(accepted)
    result.refused = len(messages) - len(accepted)
    result.answered = len(seen)
    result.lost = [m.token for m in accepted if m.token not in seen and m.token not in parked]
    for tokens in order.values():
        numbers = [int(token.rpartition("-")[2]) for token in tokens]
        result.disorder += [
            token
            for token, number, before in zip(tokens[1:], numbers[1:], numbers, strict=False)
            if number < before
        ]
    result.recovery_p50_s = percentile(waits, 0.50)
    result.recovery_p99_s = percentile(waits, 0.99)
    took = [
        seconds
        for message in messages.values()
        for status, seconds in zip(message.statuses, message.seconds, strict=True)
        if status is not None
    ]
    result.answer_p99_ms = 1000 * percentile(took, 0.99)
    return result


def percentile(values: Iterable[float], share: float) -> float:
    """Nearest rank; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def write_history(folder: Path, posted: Iterable[Posted], answers: Iterable[Answer]) -> None:
    with (folder / "history.jsonl").open("w") as file:
        for message in posted:
            file.write(json.dumps({"event": "posted", **asdict(message)}) + "\n")
        for answer in answers:
            file.write(json.dumps({"event": "answer", **asdict(answer)}) + "\n")
