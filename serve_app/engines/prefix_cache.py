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
        self._kept: dict[_Kept, None] = {}
        """In the order of their last use."""
        self._by_start: dict[bytes, list[_Kept]] = {}
        self.reused_tokens = 0

    @property
    def bytes(self) -> int:
        return self._bytes

    def clear(self) -> None:
        self._kept.clear()
        self._by_start.clear()
        self._bytes = 0

    def reuse(self, prompts: Sequence[Sequence[int]]) -> Reused | None:
        """None where nothing that is kept helps. At least one token of each prompt is left to compute."""
        found = [self._longest(np.asarray(prompt[:-1], np.int64)) for prompt in prompts]
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
            if len(sequence) < SHORTEST or self._longest(sequence)[1] == len(sequence):
                continue
            taken = [
                (layer.keys[row][:, places].clone(), layer.values[row][:, places].clone())
                for layer in layers
            ]
            self._add(_Kept(sequence, taken))
        return True

    def _add(self, new: _Kept) -> None:
        size = new.bytes
        if size > self._max_bytes:
            return
        # What it goes on from is in it.
        for each in list(self._alike(new.tokens)):
            if new.common(each.tokens) == len(each.tokens):
                self._drop(each)
        while self._bytes + size > self._max_bytes:
            self._drop(next(iter(self._kept)))
        self._kept[new] = None
        self._by_start.setdefault(_start(new.tokens), []).append(new)
        self._bytes += size

    def _drop(self, each: _Kept) -> None:
        del self._kept[each]
        alike = self._by_start[_start(each.tokens)]
        alike.remove(each)
        if not alike:
            del self._by_start[_start(each.tokens)]
        self._bytes -= each.bytes

    def _alike(self, tokens: npt.NDArray[np.int64]) -> Sequence[_Kept]:
        return self._by_start.get(_start(tokens), ())

    def _longest(self, tokens: npt.NDArray[np.int64]) -> tuple[_Kept | None, int]:
        best, most = None, 0
        for each in self._alike(tokens):
            if (count := each.common(tokens)) > most:
                best, most = each, count
        if best is not None:
            # Used last now.
            del self._kept[best]
            self._kept[best] = None
        return best, most


def _start(tokens: npt.NDArray[np.int64]) -> bytes:
    """Shorter beginnings are alike to none: they aren't worth a cache."""
    return tokens[:SHORTEST].tobytes()


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
