"""Trains the demo chat model on dialogues that are generated as it goes: no two steps see the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from demo.making.chat_stream import DialogueStream
from demo.making.chat_tokens import IGNORED, ChatEncoder
from demo.making.optimizer import Optimizer
from demo.making.progress import Progress, Schedule
from demo.making.sizes import ChatSize


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
    with DialogueStream(
        tokenizer,
        rows=rows,
        length=size.sequence,
        seed=seed + progress.step,
        processes=processes,
    ) as stream:
        batches = (tuple(map(torch.from_numpy, batch)) for batch in stream)
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
