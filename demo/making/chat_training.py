"""Trains the demo chat model on dialogues that are generated as it goes: no two steps see the same."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from queue import Empty
from random import Random
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from demo.making.chat_tokens import IGNORED, ChatEncoder
from demo.making.dialogues import Dialogues
from demo.making.optimizer import Optimizer
from demo.making.progress import Progress, Schedule
from demo.making.sizes import ChatSize

_AHEAD = 8
_BATCH_LIMIT_S = 120.0


def chat_config(size: ChatSize, encoder: ChatEncoder) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=encoder.size,
        hidden_size=size.width,
        intermediate_size=size.feed_forward,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        num_key_value_heads=size.heads,
        max_position_embeddings=size.context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=encoder.end,
        pad_token_id=encoder.pad,
    )


def train_chat(
    size: ChatSize, *, tokenizer: Path, checkpoint: Path, device: str, seed: int, processes: int
) -> None:
    """Goes on from `checkpoint` where there is one; its time counts the training before."""
    torch.manual_seed(seed)
    encoder = ChatEncoder.load(tokenizer)
    model: Any = LlamaForCausalLM(chat_config(size, encoder))
    model.to(device).train()
    body = torch.compile(model.model) if size.compiled else model.model
    optimizer = Optimizer(model, matrices=size.matrix_rate, rest=size.learning_rate)
    progress = Progress("chat", minutes=size.minutes, checkpoint=checkpoint)
    progress.resume(model, optimizer)
    schedule = Schedule(warm_up=100)
    rows = size.batch if device == "cpu" else size.gpu_batch
    with _DialogueStream(
        size, tokenizer, rows=rows, seed=seed + progress.step, processes=processes
    ) as batches:
        tokens, labels = next(batches)
        progress.begin()
        while not progress.is_over():
            loss = _loss(body, model.lm_head, tokens.to(device), labels.to(device), device)
            optimizer.step(loss, rate=schedule.rate(step=progress.step, done=progress.done))
            progress.stepped(loss=loss, units=tokens.numel(), model=model, optimizer=optimizer)
            tokens, labels = next(batches)
    progress.save(model, optimizer)


def _loss(body: Any, head: Any, tokens: Tensor, labels: Tensor, device: str) -> Tensor:
    following = labels[:, 1:]
    learnt = following != IGNORED
    with torch.autocast(device, torch.bfloat16):
        states = body(tokens, use_cache=False).last_hidden_state[:, :-1]
        # Half of the tokens are other people's: nothing is predicted there.
        logits = head(states[learnt])
    return F.cross_entropy(logits.float(), following[learnt])


class _DialogueStream:
    """Generates in processes of its own: a GPU is faster than one process of Python."""

    def __init__(
        self, size: ChatSize, tokenizer: Path, *, rows: int, seed: int, processes: int
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._queue: Any = context.Queue(_AHEAD)
        self._processes = [
            context.Process(
                target=_generate,
                args=(size, tokenizer, rows, seed * 1_000 + index, self._queue),
                daemon=True,
            )
            for index in range(processes)
        ]

    def __enter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for process in self._processes:
            process.start()
        return iter(self._get, None)

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join(10)

    def _get(self) -> tuple[Tensor, Tensor]:
        try:
            tokens, labels = self._queue.get(timeout=_BATCH_LIMIT_S)
        except Empty:
            raise RuntimeError("the processes that make dialogues have stopped") from None
        return torch.from_numpy(tokens).long(), torch.from_numpy(labels).long()


def _generate(size: ChatSize, tokenizer: Path, rows: int, seed: int, queue: Any) -> None:
    import numpy as np

    encoder = ChatEncoder.load(tokenizer)
    dialogues = Dialogues(Random(seed))
    while True:
        batch = [_sequence(encoder, dialogues, size.sequence) for _ in range(rows)]
        queue.put(
            (
                np.array([tokens for tokens, _ in batch], np.int16),
                np.array([labels for _, labels in batch], np.int16),
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
