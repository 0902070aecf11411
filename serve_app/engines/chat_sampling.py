"""Each row of a chat batch by its own wishes: how tokens are drawn, and where the reply ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

STOP_TAIL_TOKENS = 24
"""Latest tokens that are searched for a stop text, besides one per character of the longest."""


class SampledRow(Protocol):
    """What is asked of one row."""

    max_tokens: int
    temperature: float
    top_p: float
    seed: int | None
    stop: tuple[str, ...]
    abandoned: bool


class RowSampler:
    """A logits processor for greedy `generate`: of a row that asks for sampling it leaves the one token
    that the row's own generator draws. Rows of any temperature share a batch so, and a seeded row gets
    the same tokens whoever its neighbours are."""

    def __init__(self, rows: Sequence[SampledRow], *, top_k: int | None = None) -> None:
        self._rows = rows
        self._top_k = top_k
        self._generators = {
            index: _generator(row.seed) for index, row in enumerate(rows) if row.temperature > 0
        }

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        if not self._generators:
            return scores
        scores = scores.clone()
        for index, generator in self._generators.items():
            row = self._rows[index]
            chances = _chances(scores[index].float().cpu(), row, top_k=self._top_k)
            drawn = int(torch.multinomial(chances, 1, generator=generator))
            scores[index] = -torch.inf
            scores[index, drawn] = 0
        return scores


def _generator(seed: int | None) -> torch.Generator:
    generator = torch.Generator()
    if seed is None:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _chances(scores: Tensor, row: SampledRow, *, top_k: int | None) -> Tensor:
    chances = (scores / row.temperature).softmax(dim=-1)
    ordered, order = chances.sort(descending=True)
    # The token that crosses the bound stays, as in transformers' and OpenAI's nucleus sampling.
    out = ordered.cumsum(dim=-1) - ordered >= row.top_p
    if top_k:
        out[top_k:] = True
    out[0] = False
    return chances.masked_fill(torch.zeros_like(out).scatter(0, order, out), 0.0)


class RowLimits:
    """A stopping criterion: ends each row of a batch at its own limit, at its stop texts, or when nobody
    waits for it any more. `decode` makes text of tokens."""

    def __init__(
        self, rows: Sequence[SampledRow], *, prompt: int, decode: Callable[[Any], str]
    ) -> None:
        self._rows = rows
        self._prompt = prompt
        self._decode = decode
        self.stopped: dict[int, int] = {}
        """Rows that wrote a stop text, and how many tokens they had then."""

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        length = input_ids.shape[1] - self._prompt
        for index, row in enumerate(self._rows):
            if row.stop and index not in self.stopped:
                tail = STOP_TAIL_TOKENS + max(len(text) for text in row.stop)
                written = input_ids[index, max(self._prompt, input_ids.shape[1] - tail) :]
                if stop_at(self._decode(written.tolist()), row.stop) is not None:
                    self.stopped[index] = length
        done = [
            row.abandoned or index in self.stopped or length >= row.max_tokens
            for index, row in enumerate(self._rows)
        ]
        return torch.tensor(done, device=input_ids.device)


def stop_at(text: str, stop: Sequence[str]) -> int | None:
    """Where the first stop text begins."""
    found = [at for at in (text.find(each) for each in stop if each) if at >= 0]
    return min(found, default=None)
