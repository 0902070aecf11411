"""Deciding, with a seeded die, which request a fault strikes."""

from __future__ import annotations

import random

from serve_app.simulator.settings import Faults


class FaultDie:
    """Separate dice for sends, callbacks and files, so that the one's traffic doesn't move the other's."""

    def __init__(self) -> None:
        self.set(Faults())

    def set(self, faults: Faults) -> None:
        self.faults = faults
        self._deliveries_to_fail = faults.fail_deliveries
        # Not for secrets: the point is that the same seed repeats the same faults.
        self._send = random.Random(f"send{faults.seed}")  # noqa: S311
        self._callback = random.Random(f"callback{faults.seed}")  # noqa: S311
        self._media = random.Random(f"media{faults.seed}")  # noqa: S311

    def for_send(self) -> str | None:
        """The name of the fault that strikes this send."""
        roll = self._send.random()
        for name in ("rate_429", "error_before", "error_after", "timeout_after", "reject"):
            share = float(getattr(self.faults, name))
            if roll < share:
                return name
            roll -= share
        return None

    def fails_delivery(self) -> int | None:
        """The code with which an accepted message fails, if it does."""
        if self._deliveries_to_fail == 0:
            return None
        self._deliveries_to_fail -= 1
        return self.faults.fail_code

    def loses_callback(self) -> bool:
        return self._callback.random() < self.faults.lost_callbacks

    def repeats_callback(self) -> bool:
        return self._callback.random() < self.faults.duplicate_callbacks

    def shuffled(self, statuses: list[str]) -> list[str]:
        if self._callback.random() >= self.faults.shuffled_callbacks or len(statuses) < 2:
            return statuses
        return statuses[::-1]

    def breaks_media(self) -> bool:
        return self._media.random() < self.faults.media_500
