"""Replica counts over time, and what they tell of a burst."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from serve_app.cli.serve_api import DeploymentState


@dataclass(frozen=True, slots=True)
class Look:
    """What Serve's status said `at_s` seconds after the burst began: replicas wanted and running, by
    deployment."""

    at_s: float
    target: Mapping[str, int]
    running: Mapping[str, int]

    @classmethod
    def of(cls, at_s: float, states: Iterable[DeploymentState], names: Sequence[str]) -> Look:
        by_name = {state.name: state for state in states if state.name in names}
        return cls(
            at_s=round(at_s, 1),
            target={name: by_name[name].target for name in names if name in by_name},
            running={name: by_name[name].running for name in names if name in by_name},
        )


class ReplicaHistory:
    """Looks in the order in which they were taken."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.looks: list[Look] = []

    def changes(self) -> list[dict[str, object]]:
        """Only the moments at which a count changed."""
        told: list[dict[str, object]] = []
        last: tuple[object, object] | None = None
        for look in self.looks:
            if (look.target, look.running) != last:
                last = (look.target, look.running)
                told.append(
                    {"at_s": look.at_s, "target": dict(look.target), "running": dict(look.running)}
                )
        return told

    def summary(self, *, since_s: float) -> dict[str, dict[str, float | None]]:
        """By deployment: the most replicas, when a second was asked for and when it ran, and how long after
        `since_s`, the last reply, the count was down again."""
        return {name: self._of(name, since_s) for name in self._names}

    def at_rest(self, rest: Mapping[str, int]) -> bool:
        """Whether the last look found these counts, wanted and running."""
        return bool(self.looks) and self.looks[-1].running == rest == self.looks[-1].target

    def most(self, name: str) -> int:
        return max((look.running.get(name, 0) for look in self.looks), default=0)

    def lines(self, name: str) -> dict[str, list[tuple[float, float]]]:
        """Replicas of a deployment as steps, asked for and running, for a plot."""
        asked = [(look.at_s, float(look.target.get(name, 0))) for look in self.looks]
        running = [(look.at_s, float(look.running.get(name, 0))) for look in self.looks]
        return {"asked for": _steps(asked), "running": _steps(running)}

    def _of(self, name: str, since_s: float) -> dict[str, float | None]:
        asked = next((look.at_s for look in self.looks if look.target.get(name, 0) > 1), None)
        ran = next((look.at_s for look in self.looks if look.running.get(name, 0) > 1), None)
        high = [look.at_s for look in self.looks if look.running.get(name, 0) > 1]
        down = next((look.at_s for look in self.looks if high and look.at_s > high[-1]), None)
        return {
            "most": self.most(name),
            "second_asked_for_after_s": asked,
            "second_running_after_s": ran,
            "at_most_one_again_after_s": down,
            "of_which_after_the_last_reply_s": None
            if down is None
            else round(max(0.0, down - since_s), 1),
        }


def _steps(counts: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The corners of a line that stays level until a count changes."""
    line: list[tuple[float, float]] = []
    for at, count in counts:
        if not line or line[-1][1] != count:
            if line:
                line.append((at, line[-1][1]))
            line.append((at, count))
    return [*line, counts[-1]] if line and line[-1] != counts[-1] else line
