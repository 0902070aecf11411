"""When words were said: Whisper's cross attention, read by dynamic time warping.

The method of OpenAI's `find_alignment`, with transformers' median filter, warping and grouping of tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from serve_app.engines.whisper_network import Memory, WhisperNetwork
from serve_app.engines.whisper_rows import FRAMES_PER_TIMESTAMP, TimedWord
from serve_app.engines.whisper_sampling import Vocabulary

MEDIAN_FILTER_WIDTH = 7
SECONDS_PER_POSITION = 0.02


def alignment_heads(model: Any) -> tuple[tuple[int, int], ...]:
    """(layer, head) pairs: as the model declares them, else every head of the upper half."""
    declared = getattr(model.generation_config, "alignment_heads", None)
    if declared:
        return tuple((int(layer), int(head)) for layer, head in declared)
    layers, heads = model.config.decoder_layers, model.config.decoder_attention_heads
    return tuple((layer, head) for layer in range(layers // 2, layers) for head in range(heads))


def aligned_words(
    network: WhisperNetwork,
    tokenizer: Any,
    vocabulary: Vocabulary,
    *,
    heads: Sequence[tuple[int, int]],
    encoded: Tensor,
    prompt: Sequence[int],
    spoken: Sequence[int],
    language: str,
    content_frames: int,
) -> list[TimedWord]:
    """`spoken` without time stamps; `encoded` is (1, positions, width)."""
    import numpy as np
    from transformers.models.whisper.generation_whisper import (
        _dynamic_time_warping,  # pyright: ignore[reportPrivateUsage] -- nothing public does it
        _median_filter,  # pyright: ignore[reportPrivateUsage]
    )

    if not spoken:
        return []
    start = [*prompt, vocabulary.no_timestamps]
    weights, logits = _attention(network, encoded, [*start, *spoken, vocabulary.end], heads)
    weights = weights[:, len(start) - 1 : -1, : max(1, content_frames // FRAMES_PER_TIMESTAMP)]
    spread, mean = torch.std_mean(weights, dim=-2, keepdim=True, unbiased=False)
    smooth = _median_filter((weights - mean) / spread.clamp(min=1e-8), MEDIAN_FILTER_WIDTH)
    matrix = -smooth.mean(dim=0).double().cpu().numpy()
    text_indices, time_indices = _dynamic_time_warping(matrix)
    jumps = np.pad(np.diff(text_indices), (1, 0), constant_values=1).astype(bool)
    times = time_indices[jumps] * SECONDS_PER_POSITION
    chances = logits[len(start) - 1 : -2].softmax(dim=-1)
    chosen = chances[torch.arange(len(spoken)), torch.tensor(spoken)].tolist()
    words = _grouped(tokenizer, [*spoken, vocabulary.end], language)
    found: list[TimedWord] = []
    at = 0
    for text, tokens in words:
        end = at + len(tokens)
        if end <= len(spoken):
            found.append(
                TimedWord(
                    text,
                    float(times[at]),
                    float(times[min(end, len(times) - 1)]),
                    sum(chosen[at:end]) / len(tokens),
                )
            )
        at = end
    return found


def _attention(
    network: WhisperNetwork,
    encoded: Tensor,
    tokens: Sequence[int],
    heads: Sequence[tuple[int, int]],
) -> tuple[Tensor, Tensor]:
    """Cross attention of the given heads, (heads, tokens, positions), and logits, both on the CPU."""
    seen: dict[int, Tensor] = {}

    def watch(layer: int, weights: Tensor) -> None:
        seen[layer] = weights[0].cpu()

    memory = Memory(network, rows=1, positions=encoded.shape[1])
    network.listen(encoded, memory)
    given = torch.tensor([list(tokens)], device=network.device)
    hidden = network.advance(
        given,
        torch.arange(len(tokens), device=network.device)[None],
        memory,
        watched={layer for layer, _ in heads},
        watch=watch,
    )
    weights = torch.stack([seen[layer][head] for layer, head in heads])
    return weights, network.logits(hidden[0]).cpu()


def _grouped(
    tokenizer: Any, tokens: Sequence[int], language: str
) -> list[tuple[str, Sequence[int]]]:
    from transformers.models.whisper.tokenization_whisper import (
        LANGUAGES,
        _combine_tokens_into_words,  # pyright: ignore[reportPrivateUsage] -- nothing public does it
    )

    words, word_tokens, _ = _combine_tokens_into_words(
        tokenizer, list(tokens), language=LANGUAGES.get(language, "english")
    )
    return list(zip(words, word_tokens, strict=True))
