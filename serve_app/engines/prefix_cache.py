"""Beginnings of prompts that were computed before: an owner's instructions and tools, and a conversation so
far, cost a dynamic batch nothing the second time. Blocking.

Each row of a batch goes on from the longest beginning that is kept, whatever its neighbours have: keys carry
their positions, so that beginnings of different lengths lie in one cache, padded on the left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

SHORTEST = 16
"""Tokens of a beginning that is worth putting into a cache."""


@dataclass(eq=False, slots=True)
class _Kept:
    """A sequence, and of each layer keys and values of shape (heads, tokens, width)."""

    tokens: npt.NDArray[np.int64]
    layers: list[tuple[Any, Any]]

    @property
    def bytes(self) -> int:
        return sum(part.numel() * part.element_size() for layer in self.layers for part in layer)

    def common(self, tokens: npt.NDArray[np.int64]) -> int:
        """How many of its first tokens both begin with."""
        shorter = min(len(self.tokens), len(tokens))
        different = np.flatnonzero(self.tokens[:shorter] != tokens[:shorter])
        return int(different[0]) if len(different) else shorter


@dataclass(frozen=True, slots=True)
class Reused:
    """What a batch needn't compute."""

    counts: tuple[int, ...]
    """Of each row, how many of its first tokens."""
    cache: Any
    """A `DynamicCache` with `max(counts)` tokens; each row's stand at its end."""


class PrefixCache:
    """Those that weren't used for longest make room."""

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: list[_Kept] = []
        """The most recently used last."""
        self.reused_tokens = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    def clear(self) -> None:
        self._kept.clear()
        self._bytes = 0

    def reuse(self, prompts: Sequence[Sequence[int]]) -> Reused | None:
        """None where nothing that is kept helps. At least one token of each prompt is left to compute."""
        found = [self._longest(np.asarray(prompt, np.int64)) for prompt in prompts]
        counts = tuple(count for _, count in found)
        if not any(counts):
            return None
        self.reused_tokens += sum(counts)
        return Reused(counts, _joined(found, max(counts)))

    def keep(self, sequences: Sequence[tuple[Sequence[int], Sequence[int]]], cache: Any) -> bool:
        """Take from a batch's cache, of each row, tokens and the places where they stand in it. False if
        the model doesn't remember in keys and values of every token, which is all that can be reused."""
        from transformers.cache_utils import DynamicLayer

        layers = getattr(cache, "layers", ())
        if not layers or any(type(layer) is not DynamicLayer for layer in layers):
            return False
        for row, (tokens, places) in enumerate(sequences):
            sequence = np.asarray(tokens, np.int64)
            if len(sequence) < SHORTEST or any(
                each.common(sequence) == len(sequence) for each in self._kept
            ):
                continue
            self._add(
                _Kept(
                    sequence,
                    [
                        (layer.keys[row][:, places].clone(), layer.values[row][:, places].clone())
                        for layer in layers
                    ],
                )
            )
        return True

    def _add(self, new: _Kept) -> None:
        size = new.bytes
        if size > self._max_bytes:
            return
        # What it goes on from is in it.
        shorter = [each for each in self._kept if new.common(each.tokens) == len(each.tokens)]
        for each in shorter:
            self._drop(each)
        while self._bytes + size > self._max_bytes:
            self._drop(self._kept[0])
        self._kept.append(new)
        self._bytes += size

    def _drop(self, each: _Kept) -> None:
        self._kept.remove(each)
        self._bytes -= each.bytes

    def _longest(self, prompt: npt.NDArray[np.int64]) -> tuple[_Kept | None, int]:
        best, most = None, SHORTEST - 1
        for each in self._kept:
            count = each.common(prompt[:-1])
            if count > most:
                best, most = each, count
        if best is None:
            return None, 0
        self._kept.remove(best)
        self._kept.append(best)
        return best, most


def _joined(found: Sequence[tuple[_Kept | None, int]], longest: int) -> Any:
    from transformers import DynamicCache

    first = next(each for each, _ in found if each is not None)
    layers: list[tuple[Any, Any]] = []
    for index, pair in enumerate(first.layers):
        filled: list[Any] = []
        for which, like in enumerate(pair):
            heads, _, width = like.shape
            part = like.new_zeros((len(found), heads, longest, width))
            for row, (each, count) in enumerate(found):
                if each is not None:
                    part[row, :, longest - count :] = each.layers[index][which][:, :count]
            filled.append(part)
        layers.append((filled[0], filled[1]))
    return DynamicCache(layers)
