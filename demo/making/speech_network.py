"""Whisper's network as it is trained here: the 30 s window at a fraction of its cost.

faster-whisper pads what it hears to 3,000 mel frames, so a model must bear 1,500 encoder positions of which
most are silence. Training computes the positions with sound, every twentieth of those after it up to the
longest utterance, and a single one for all that lie farther: attention counts each as often as it stands
for (its key's bias is the logarithm). The farther positions share one learned vector, so the single one is
exact. Some batches leave the padding out instead: these are the short windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody calls it
from torch import Tensor, nn
from transformers import WhisperConfig, WhisperForConditionalGeneration

from demo.making.features import MELS
from demo.making.sizes import SpeechSize
from demo.making.speech_tokens import SpeechTokens
from demo.making.utterances import CHARACTERS

WINDOW = 1_500
"""Encoder positions of 20 ms in 30 s."""
TARGET_POSITIONS = 448
_STRIDE = 20
GUIDED_HEADS = 2
_GUIDED_WIDTH = 20
"""Positions to each side of where a token is expected."""


def speech_config(size: SpeechSize, tokens: SpeechTokens) -> WhisperConfig:
    return WhisperConfig(
        vocab_size=tokens.size,
        num_mel_bins=MELS,
        d_model=size.width,
        encoder_layers=size.encoder_layers,
        decoder_layers=size.decoder_layers,
        encoder_attention_heads=size.heads,
        decoder_attention_heads=size.heads,
        encoder_ffn_dim=4 * size.width,
        decoder_ffn_dim=4 * size.width,
        max_source_positions=WINDOW,
        max_target_positions=TARGET_POSITIONS,
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        pad_token_id=tokens.end,
        decoder_start_token_id=tokens.start,
        suppress_tokens=[],
        begin_suppress_tokens=[tokens.end],
        dropout=0.0,
        tie_word_embeddings=True,
        scale_embedding=False,
    )


@dataclass(frozen=True, slots=True)
class Encoded:
    """`states` is (batch, positions, width); the first `heard` positions are sound, `bias` is what attention
    adds to each."""

    states: Tensor
    bias: Tensor
    heard: int


@dataclass(frozen=True, slots=True)
class Guide:
    """Which decoder inputs (row, step) listen around which encoder position."""

    rows: Tensor
    steps: Tensor
    positions: Tensor


class SpeechNetwork(nn.Module):
    """A `WhisperForConditionalGeneration` with what only training needs: a spelling head (CTC) and the vector
    of far positions."""

    def __init__(self, size: SpeechSize, tokens: SpeechTokens) -> None:
        super().__init__()
        self.whisper = WhisperForConditionalGeneration(speech_config(size, tokens))
        self.spelling = nn.Linear(size.width, len(CHARACTERS) + 1)
        self.far = nn.Parameter(torch.randn(size.width) * 0.5)
        self.near = int(size.longest_s * 50)
        """Positions that have a vector of their own."""
        self._heads = size.heads
        encoder, decoder = self._parts()
        with torch.no_grad():
            encoder.embed_positions.weight.copy_(sinusoids(WINDOW, size.width))
            encoder.embed_positions.weight.requires_grad_(False)
            nn.init.normal_(decoder.embed_tokens.weight, std=0.03)
            decoder.embed_positions.weight.copy_(sinusoids(TARGET_POSITIONS, size.width) * 0.1)

    def encode(self, mel: Tensor, floor: Tensor, *, full_window: bool) -> Encoded:
        """`mel` is (batch, 80, an even number of frames), `floor` the value (batch) that padding has."""
        encoder, _ = self._parts()
        batch, bands, frames = mel.shape
        beyond = floor[:, None, None].expand(batch, bands, 8).to(mel.dtype)
        hidden = F.gelu(encoder.conv1(torch.cat([mel, beyond], 2)))
        hidden = F.gelu(encoder.conv2(hidden)).transpose(1, 2)
        heard = frames // 2
        positions = encoder.embed_positions.weight
        states = hidden[:, :heard] + positions[:heard]
        bias = torch.zeros(heard, device=mel.device)
        if full_window:
            padding = hidden[:, heard + 2 : heard + 3]
            first = heard + _STRIDE // 2
            sampled = torch.arange(first, self.near, _STRIDE, device=mel.device)
            states = torch.cat([states, padding + positions[sampled], padding + self.far], 1)
            each = math.log(max(1, self.near - heard) / max(1, len(sampled)))
            bias = torch.cat(
                [
                    bias,
                    torch.full((len(sampled),), each, device=mel.device),
                    torch.full((1,), math.log(WINDOW - self.near), device=mel.device),
                ]
            )
        mask = bias[None, None, None]
        for layer in encoder.layers:
            normal = layer.self_attn_layer_norm(states)
            states = states + self._attend(layer.self_attn, normal, normal, mask=mask)
            states = states + _feed_forward(layer, states)
        return Encoded(encoder.layer_norm(states), mask, heard)

    def decode(
        self, tokens: Tensor, encoded: Encoded, guide: Guide | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits, and the guided heads' loss: how little of their attention is where a token is spoken."""
        _, decoder = self._parts()
        states = decoder.embed_tokens(tokens) + decoder.embed_positions.weight[: tokens.shape[1]]
        strayed = states.new_zeros(())
        for layer in decoder.layers:
            normal = layer.self_attn_layer_norm(states)
            states = states + self._attend(layer.self_attn, normal, normal, causal=True)
            normal = layer.encoder_attn_layer_norm(states)
            if guide is not None and len(guide.rows):
                strayed = strayed + self._strayed(layer.encoder_attn, normal, encoded, guide)
            states = states + self._attend(
                layer.encoder_attn, normal, encoded.states, mask=encoded.bias
            )
            states = states + _feed_forward(layer, states)
        return decoder.layer_norm(states) @ decoder.embed_tokens.weight.T, strayed

    def finished(self) -> WhisperForConditionalGeneration:
        """The model as it is published, with the shared vector in every far position."""
        encoder, _ = self._parts()
        with torch.no_grad():
            encoder.embed_positions.weight[self.near :] = self.far
        return self.whisper

    def _parts(self) -> tuple[Any, Any]:
        return self.whisper.model.encoder, self.whisper.model.decoder

    def _split(self, states: Tensor) -> Tensor:
        batch, length, width = states.shape
        return states.view(batch, length, self._heads, width // self._heads).transpose(1, 2)

    def _attend(
        self,
        attention: Any,
        states: Tensor,
        others: Tensor,
        *,
        mask: Tensor | None = None,
        causal: bool = False,
    ) -> Tensor:
        query = self._split(attention.q_proj(states))
        key = self._split(attention.k_proj(others))
        value = self._split(attention.v_proj(others))
        if mask is not None:
            mask = mask.to(query.dtype)
        heard = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=causal)
        return attention.out_proj(heard.transpose(1, 2).flatten(2))

    def _strayed(self, attention: Any, states: Tensor, encoded: Encoded, guide: Guide) -> Tensor:
        each = attention.q_proj.weight.shape[0] // self._heads
        used = GUIDED_HEADS * each
        query = F.linear(
            states[guide.rows, guide.steps],
            attention.q_proj.weight[:used],
            attention.q_proj.bias[:used],
        ).view(-1, GUIDED_HEADS, each)
        key = F.linear(encoded.states, attention.k_proj.weight[:used])
        key = key.view(*key.shape[:2], GUIDED_HEADS, each)
        scores = torch.einsum("nhd,nshd->nhs", query, key[guide.rows]).float() * each**-0.5
        logs = (scores + encoded.bias[0]).log_softmax(-1)
        places = torch.arange(encoded.states.shape[1], device=logs.device)
        inside = (places[None] - guide.positions[:, None]).abs() <= _GUIDED_WIDTH
        return -logs.masked_fill(~inside[:, None], -1e4).logsumexp(-1).mean()


def sinusoids(length: int, width: int) -> Tensor:
    """Whisper's position vectors."""
    inverse = torch.exp(-math.log(10_000) / (width // 2 - 1) * torch.arange(width // 2))
    angles = torch.arange(length)[:, None] * inverse[None]
    return torch.cat([angles.sin(), angles.cos()], 1)


def _feed_forward(layer: Any, states: Tensor) -> Tensor:
    return layer.fc2(F.gelu(layer.fc1(layer.final_layer_norm(states))))
