"""Dialogues made while the chat model trains, in processes that don't need torch."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.making.chat_tokens import ChatEncoder
from demo.making.dialogues import Dialogues

Batch = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""Tokens and labels, each (rows, length)."""

_AHEAD = 8
_LIMIT_S = 120.0


class DialogueStream:
    """Generates in processes of its own: a GPU is faster than one process of Python."""

    def __init__(
        self, tokenizer: Path, *, rows: int, length: int, seed: int, processes: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: Any = context.Queue(_AHEAD)
        self._processes = [
            context.Process(
                target=_generate,
                args=(tokenizer, rows, length, seed * 1_000 + index, self._queue),
                daemon=True,
            )
            for index in range(processes)
        ]

    def __enter__(self) -> Iterator[Batch]:
        for process in self._processes:
            process.start()
        return iter(self._get, None)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join(10)

    def _get(self) -> Batch:
        try:
            return self._queue.get(timeout=_LIMIT_S)
        except Empty:
            raise RuntimeError("the processes that make dialogues have stopped") from None


def _generate(tokenizer: Path, rows: int, length: int, seed: int, queue: Any) -> None:
    encoder = ChatEncoder.load(tokenizer)
    dialogues = Dialogues(Random(seed))
    while True:
        batch = [_sequence(encoder, dialogues, length) for _ in range(rows)]
        queue.put(
            (
                np.array([tokens for tokens, _ in batch], np.int64),
                np.array([labels for _, labels in batch], np.int64),
            )
        )


def _sequence(
    encoder: ChatEncoder, dialogues: Dialogues, length: int
) -> tuple[list[int], list[int]]:
    """Conversations one behind the other. Each begins anew for the model, which is never told so: a long
    history of other matters must not disturb it."""
    tokens: list[int] = []
    labels: list[int] = []
    while len(tokens) < length:
        more_tokens, more_labels = encoder.encode(dialogues.conversation())
        tokens += more_tokens
        labels += more_labels
    return tokens[:length], labels[:length]
