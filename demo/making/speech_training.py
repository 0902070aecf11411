"""Trains the demo speech model: what is written, how it is spelled, and where to listen.

The loss is cross entropy of the decoder, CTC of the encoder (heavy at first: it gives the ear something to
learn before the decoder can listen) and guided attention of two heads a layer. Weights are averaged.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor

from demo.making.optimizer import Optimizer
from demo.making.progress import Progress, Schedule
from demo.making.sizes import SpeechSize
from demo.making.speech_batches import IGNORED, SpeechBatch, SpeechBatcher
from demo.making.speech_network import SpeechNetwork
from demo.making.speech_tokens import SpeechTokens
from demo.making.utterances import UtterancePool

_SMOOTHING = 0.05
_SPELLING, _SPELLING_LATER = 0.7, 0.3
_GUIDE = 0.5
_SHORT_WINDOWS = 0.4
_AVERAGED = 0.998


def train_speech(
    size: SpeechSize,
    *,
    tokenizer: Path,
    checkpoint: Path,
    device: str,
    seed: int,
    processes: int,
    opus: bool,
) -> None:
    """Goes on from `checkpoint` where there is one. `opus` needs PyAV."""
    torch.manual_seed(seed)
    tokens = SpeechTokens.load(tokenizer)
    network = SpeechNetwork(size, tokens).to(device).train()
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(_AVERAGED)
    )
    optimizer = Optimizer(network, matrices=size.matrix_rate, rest=size.learning_rate)
    both = torch.nn.ModuleDict({"network": network, "averaged": averaged})
    progress = Progress("speech", minutes=size.minutes, checkpoint=checkpoint)
    progress.resume(both, optimizer)
    schedule = Schedule(warm_up=100)
    random = Random(seed + progress.step)
    on_cpu = device == "cpu"
    batcher = SpeechBatcher(tokens, random, frames=size.frames if on_cpu else size.gpu_frames)
    with UtterancePool(
        tokenizer=tokenizer,
        longest_s=size.longest_s,
        size=size.pool if on_cpu else size.gpu_pool,
        seed=seed + progress.step,
        processes=processes,
        opus=opus,
    ) as pool:
        pool.fill(size.first)
        progress.begin()
        while not progress.is_over():
            pool.renew()
            for batch in batcher.batches(list(pool.utterances)):
                if progress.is_over():
                    break
                full = random.random() >= _SHORT_WINDOWS
                loss = _loss(network, batch.to(device), device, full=full, done=progress.done)
                optimizer.step(loss, rate=schedule.rate(step=progress.step, done=progress.done))
                averaged.update_parameters(network)
                progress.stepped(
                    loss=loss,
                    units=batch.mel.shape[0] * batch.mel.shape[2],
                    model=both,
                    optimizer=optimizer,
                )
    progress.save(both, optimizer)


def _loss(
    network: SpeechNetwork, batch: SpeechBatch, device: str, *, full: bool, done: float
) -> Tensor:
    with torch.autocast(device, torch.bfloat16):
        encoded = network.encode(batch.mel, batch.floor, full_window=full)
        spelled = network.spelling(encoded.states[:, : encoded.heard])
        logits, strayed = network.decode(batch.tokens, encoded, batch.guide)
    written = F.cross_entropy(
        logits.float().flatten(0, 1),
        batch.labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=_SMOOTHING,
    )
    spelling = F.ctc_loss(
        spelled.float().log_softmax(-1).transpose(0, 1),
        batch.spelling,
        batch.heard,
        batch.spelling_lengths,
        zero_infinity=True,
    )
    weight = _SPELLING if done < 0.5 else _SPELLING_LATER
    return written + weight * spelling + _GUIDE * strayed
