"""A training's clock, its checkpoints and what it tells meanwhile."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from demo.making.optimizer import Optimizer

_TELL_S = 30.0
_SAVE_S = 180.0
_LONGEST_STEP_S = 30.0
"""A step that seems to take longer was interrupted: a pause is no training."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A warm-up, then a cosine down to a fiftieth of the peak."""

    warm_up: int
    """Steps."""

    def rate(self, *, step: int, done: float) -> float:
        """The share of the peak; `done` is the share of the training that is over, 0 to 1."""
        falling = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))
        return falling * min(1.0, (step + 1) / self.warm_up)


class Progress:
    """A training lasts for `minutes`, in as many runs as one likes."""

    def __init__(self, name: str, *, minutes: float, checkpoint: Path) -> None:
        self.step = 0
        self.units = 0
        self._name = name
        self._seconds = minutes * 60
        self._checkpoint = checkpoint
        self._trained_s = 0.0
        self.begin()
        self._losses: list[torch.Tensor] = []

    def begin(self) -> None:
        """The clock runs from here: call it again when the first batch is there."""
        self._stepped = self._told = self._saved = time.monotonic()

    @property
    def done(self) -> float:
        return min(1.0, self._trained_s / self._seconds)

    def is_over(self) -> bool:
        return self._trained_s >= self._seconds

    def resume(self, model: torch.nn.Module, optimizer: Optimizer) -> None:
        state_file = self._checkpoint / "state.pt"
        if not state_file.is_file():
            return
        state = torch.load(state_file, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        self.step, self.units, self._trained_s = state["step"], state["units"], state["seconds"]
        print(f"{self._name}: goes on after {self._trained_s / 60:.1f} min", flush=True)

    def stepped(
        self,
        *,
        loss: torch.Tensor,
        units: int,
        model: torch.nn.Module,
        optimizer: Optimizer,
    ) -> None:
        """`units`: tokens or mel frames."""
        self.step += 1
        self.units += units
        self._losses.append(loss.detach())
        now = time.monotonic()
        self._trained_s += min(now - self._stepped, _LONGEST_STEP_S)
        self._stepped = now
        if now - self._told > _TELL_S:
            self._told = now
            mean = torch.stack(self._losses).mean().item()
            self._losses.clear()
            print(
                f"{self._name}: {self._trained_s / 60:.1f} min, step {self.step}, "
                f"{self.units / 1e6:.2f} M, loss {mean:.4f}",
                flush=True,
            )
        if now - self._saved > _SAVE_S:
            self._saved = now
            self.save(model, optimizer)

    def save(self, model: torch.nn.Module, optimizer: Optimizer) -> None:
        """Whole or not at all: written beside and put in place."""
        self._checkpoint.mkdir(parents=True, exist_ok=True)
        unfinished = self._checkpoint / "state.part"
        state: dict[str, Any] = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": self.step,
            "units": self.units,
            "seconds": self._trained_s,
        }
        torch.save(state, unfinished)
        unfinished.replace(self._checkpoint / "state.pt")
        figures = {
            "steps": self.step,
            "units": self.units,
            "minutes": round(self._trained_s / 60, 1),
        }
        (self._checkpoint / "training.json").write_text(json.dumps(figures))
