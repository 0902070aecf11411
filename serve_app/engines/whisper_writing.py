"""From encoded sound to tokens: prompts of a batch, then step by step until every row has ended.

On CUDA each step is one replay of a captured graph: a decoder of a few layers spends most of an ordinary
step on launching kernels.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import torch
from torch import Tensor

from serve_app.engines.whisper_network import Memory, WhisperNetwork
from serve_app.engines.whisper_rows import MAX_TOKENS
from serve_app.engines.whisper_sampling import Draft, NextToken, Vocabulary

log = structlog.get_logger(__name__)

STEPS_BETWEEN_LOOKS = 8
"""Looking whether all rows have ended makes the GPU wait."""


@dataclass(frozen=True, slots=True)
class Written:
    """A row's tokens without the end, the sum of their log probabilities with it."""

    tokens: tuple[int, ...]
    logprob: float
    no_speech_probability: float


@dataclass(slots=True)
class _Desk:
    """What a captured graph reads and writes."""

    memory: Memory
    draft: Draft
    graph: Any = None


class Writer:
    """`graph_sizes` are the batch sizes to capture; none computes without graphs."""

    def __init__(
        self, *, network: WhisperNetwork, vocabulary: Vocabulary, graph_sizes: Sequence[int] = ()
    ) -> None:
        self._network = network
        self._vocabulary = vocabulary
        self._next = NextToken(vocabulary, device=network.device)
        self.graph_sizes = sorted(graph_sizes)
        self._memories: dict[int, Memory] = {}
        self._desks: dict[tuple[int, int], _Desk] = {}
        self._shared = threading.Lock()
        self.graphs = 0
        """Captured so far."""

    def write(
        self,
        encoded: Tensor,
        prompts: Sequence[Sequence[int]],
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        max_steps: int = MAX_TOKENS,
    ) -> list[Written]:
        """One transcript per row of `encoded`, (rows, positions, width), cut off after `max_steps`."""
        rows, positions = encoded.shape[:2]
        size = next((size for size in self.graph_sizes if size >= rows), None)
        if size is None or temperature:
            desk = _Desk(
                Memory(self._network, rows=rows, positions=positions),
                Draft(rows=rows, device=self._network.device),
            )
            return self._write(
                desk,
                encoded,
                prompts,
                temperature=temperature,
                generator=generator,
                max_steps=max_steps,
            )
        with self._shared:
            desk = self._desks.get((size, positions)) or self._new_desk(size, positions)
            return self._write(desk, encoded, prompts, max_steps=max_steps)

    def first_logits(self, encoded: Tensor, prompt: Sequence[int]) -> Tensor:
        """After one prompt that all rows share."""
        rows, positions = encoded.shape[:2]
        memory = Memory(self._network, rows=rows, positions=positions)
        self._network.listen(encoded, memory)
        hidden, _ = self._read([prompt] * rows, memory)
        return self._network.logits(hidden[:, -1])

    def _write(
        self,
        desk: _Desk,
        encoded: Tensor,
        prompts: Sequence[Sequence[int]],
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
        max_steps: int,
    ) -> list[Written]:
        network, draft, rows = self._network, desk.draft, encoded.shape[0]
        size = draft.done.shape[0]
        network.listen(encoded, desk.memory)
        filled = [*prompts, *[prompts[0]] * (size - rows)]
        hidden, lengths = self._read(filled, desk.memory)
        starts = torch.tensor(
            [list(prompt).index(self._vocabulary.start) for prompt in filled], device=network.device
        )
        index = torch.arange(size, device=network.device)
        no_speech = network.logits(hidden[index, starts]).softmax(dim=-1)
        draft.begin(lengths, rows=rows)
        first = network.logits(hidden[index, lengths - 1])
        self._next.choose(first, draft, temperature=temperature, generator=generator)
        room = MAX_TOKENS - min(len(prompt) for prompt in prompts)
        for step in range(1, min(room, max_steps)):
            if step % STEPS_BETWEEN_LOOKS == 0 and bool(draft.done.all()):
                break
            if desk.graph is not None:
                desk.graph.replay()
            else:
                self._step(desk, temperature, generator)
        tokens, written, logprob = (
            tensor[:rows].tolist() for tensor in (draft.tokens, draft.written, draft.logprob)
        )
        silence = no_speech[:rows, self._vocabulary.no_speech].tolist()
        return [
            Written(tuple(tokens[row][: written[row]]), logprob[row], silence[row])
            for row in range(rows)
        ]

    def _step(
        self, desk: _Desk, temperature: float = 0.0, generator: torch.Generator | None = None
    ) -> None:
        draft = desk.draft
        hidden = self._network.advance(draft.latest[:, None], draft.position[:, None], desk.memory)
        self._next.choose(
            self._network.logits(hidden[:, 0]),
            draft,
            temperature=temperature,
            generator=generator,
        )

    def _read(self, prompts: Sequence[Sequence[int]], memory: Memory) -> tuple[Tensor, Tensor]:
        """Hidden states of prompts of any lengths, and the lengths."""
        longest = max(len(prompt) for prompt in prompts)
        padded = [
            [*prompt, *[self._vocabulary.end] * (longest - len(prompt))] for prompt in prompts
        ]
        tokens = torch.tensor(padded, device=self._network.device)
        positions = torch.arange(longest, device=self._network.device).expand_as(tokens)
        lengths = torch.tensor([len(prompt) for prompt in prompts], device=self._network.device)
        return self._network.advance(tokens, positions, memory), lengths

    def _new_desk(self, size: int, positions: int) -> _Desk:
        network = self._network
        memory = self._memories.get(positions)
        if memory is None:
            memory = Memory(network, rows=self.graph_sizes[-1], positions=positions)
            self._memories[positions] = memory
        desk = _Desk(memory.first(size), Draft(rows=size, device=network.device))
        self._desks[size, positions] = desk
        try:
            desk.graph = self._captured(desk)
        except RuntimeError as error:
            log.warning("speech_graph_failed", rows=size, error=str(error).partition("\n")[0])
        else:
            self.graphs += desk.graph is not None
        return desk

    def _captured(self, desk: _Desk) -> Any:
        """None where there is nothing to capture with."""
        if self._network.device.type != "cuda":
            return None
        lengths = torch.ones_like(desk.draft.written)
        desk.draft.begin(lengths, rows=len(lengths))
        # Libraries allocate their workspaces at the first calls, which a capture may not.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                self._step(desk)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self._step(desk)
        return graph
