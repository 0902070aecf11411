"""How both trainings step: Muon for the matrices between layers, AdamW for everything else.

On the dialogues the loss after 120 steps is 0.83 to 0.85 where AdamW alone has 1.03, for 7 % more time a step
(https://kellerjordan.github.io/posts/muon).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

_DECAY = 0.05
_OUTSIDE = ("embed", "positions", "spelling", "far")
"""Embeddings and what only training needs are no matrices between layers."""


class Optimizer:
    def __init__(self, network: nn.Module, *, matrices: float, rest: float) -> None:
        """`matrices` and `rest` are the peaks of the two learning rates."""
        hidden: list[nn.Parameter] = []
        weights: list[nn.Parameter] = []
        for name, weight in network.named_parameters():
            if weight.requires_grad:
                between = weight.ndim == 2 and not any(word in name for word in _OUTSIDE)
                (hidden if between else weights).append(weight)
        self._all = [*hidden, *weights]
        self._peaks = (matrices, rest)
        self._parts: tuple[torch.optim.Optimizer, ...] = (
            torch.optim.Muon(
                hidden,
                lr=matrices,
                weight_decay=_DECAY,
                momentum=0.95,
                adjust_lr_fn="match_rms_adamw",
            ),
            torch.optim.AdamW(weights, lr=rest, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        )

    def step(self, loss: torch.Tensor, *, rate: float) -> None:
        """One step down from `loss`, at this share of the peak rates."""
        for part, peak in zip(self._parts, self._peaks, strict=True):
            for group in part.param_groups:
                group["lr"] = peak * rate
            part.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._all, 1.0)
        for part in self._parts:
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        return [part.state_dict() for part in self._parts]

    def load_state_dict(self, states: Iterable[dict[str, Any]]) -> None:
        for part, state in zip(self._parts, states, strict=True):
            part.load_state_dict(state)
