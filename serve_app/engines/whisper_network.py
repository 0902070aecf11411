"""Whisper's encoder and decoder over the weights of transformers' `WhisperForConditionalGeneration`.

transformers' own forward pass keeps its cache's length in Python, so that one CUDA graph can't serve
every step and rows of one batch can't stand at different positions. Here keys and values lie in buffers
of fixed size and each row has a position of its own; results equal transformers' (tests/integration).
Attention is torch's `scaled_dot_product_attention`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, scaled_dot_product_attention

from serve_app.engines.whisper_rows import MAX_TOKENS

Watch = Callable[[int, Tensor], None]
"""Gets a layer's number and its cross attention's weights, (batch, heads, tokens, positions)."""


class Memory:
    """Keys and values of up to `rows` rows: of their tokens, and of their encoded sound."""

    def __init__(self, network: WhisperNetwork, *, rows: int, positions: int) -> None:
        layers, heads, width = network.layers, network.heads, network.head_width

        def buffer(length: int) -> Tensor:
            shape = (layers, rows, heads, length, width)
            return torch.zeros(shape, device=network.device, dtype=network.dtype)

        self.said_keys = buffer(MAX_TOKENS)
        self.said_values = torch.zeros_like(self.said_keys)
        self.heard_keys = buffer(positions)
        self.heard_values = torch.zeros_like(self.heard_keys)

    def first(self, rows: int) -> Memory:
        """The same buffers' first rows."""
        part = object.__new__(Memory)
        part.said_keys, part.said_values = self.said_keys[:, :rows], self.said_values[:, :rows]
        part.heard_keys, part.heard_values = self.heard_keys[:, :rows], self.heard_values[:, :rows]
        return part


class WhisperNetwork:
    """`model` is a `WhisperForConditionalGeneration` in evaluation mode."""

    def __init__(self, model: Any) -> None:
        self._encoder = model.model.encoder
        self._decoder = model.model.decoder
        self._project = model.proj_out
        config = model.config
        self.layers: int = config.decoder_layers
        self.heads: int = config.decoder_attention_heads
        self.head_width: int = config.d_model // config.decoder_attention_heads
        self._encoder_heads: int = config.encoder_attention_heads
        self._scale: float = config.d_model**0.5 if config.scale_embedding else 1.0
        self.device: torch.device = model.device
        self.dtype: torch.dtype = model.dtype
        self.vocabulary: int = model.proj_out.weight.shape[0]
        self._slots = torch.arange(MAX_TOKENS, device=self.device)

    def encode(self, features: Tensor) -> Tensor:
        """(batch, mel bands, frames) to (batch, positions, width); two frames are one position."""
        encoder = self._encoder
        hidden = gelu(encoder.conv1(features.to(self.device, self.dtype)))
        hidden = gelu(encoder.conv2(hidden)).transpose(1, 2)
        hidden = hidden + encoder.embed_positions.weight[: hidden.shape[1]]
        for layer in encoder.layers:
            normed = layer.self_attn_layer_norm(hidden)
            attention = layer.self_attn
            queries, keys, values = (
                self._by_head(project(normed), self._encoder_heads)
                for project in (attention.q_proj, attention.k_proj, attention.v_proj)
            )
            mixed = scaled_dot_product_attention(queries, keys, values)
            hidden = hidden + attention.out_proj(_joined(mixed))
            hidden = hidden + layer.fc2(gelu(layer.fc1(layer.final_layer_norm(hidden))))
        return encoder.layer_norm(hidden)

    def listen(self, encoded: Tensor, memory: Memory) -> None:
        """Keep the keys and values of encoded sound for the rows that follow."""
        rows = encoded.shape[0]
        for number, layer in enumerate(self._decoder.layers):
            attention = layer.encoder_attn
            memory.heard_keys[number, :rows] = self._by_head(attention.k_proj(encoded), self.heads)
            memory.heard_values[number, :rows] = self._by_head(
                attention.v_proj(encoded), self.heads
            )

    def advance(
        self,
        tokens: Tensor,
        positions: Tensor,
        memory: Memory,
        *,
        watched: Collection[int] = (),
        watch: Watch | None = None,
    ) -> Tensor:
        """Hidden states after `tokens`, (batch, tokens), at their `positions` of the same shape.

        Their keys and values are kept; a token sees what is kept up to its own position.
        """
        decoder = self._decoder
        hidden = decoder.embed_tokens(tokens) * self._scale
        hidden = hidden + decoder.embed_positions.weight[positions]
        seen = self._slots <= positions[:, None, :, None]
        rows = torch.arange(tokens.shape[0], device=self.device)[:, None]
        for number, layer in enumerate(decoder.layers):
            normed = layer.self_attn_layer_norm(hidden)
            attention = layer.self_attn
            keys, values = memory.said_keys[number], memory.said_values[number]
            keys[rows, :, positions] = attention.k_proj(normed).unflatten(-1, (self.heads, -1))
            values[rows, :, positions] = attention.v_proj(normed).unflatten(-1, (self.heads, -1))
            queries = self._by_head(attention.q_proj(normed), self.heads)
            mixed = scaled_dot_product_attention(queries, keys, values, attn_mask=seen)
            hidden = hidden + attention.out_proj(_joined(mixed))

            attention = layer.encoder_attn
            queries = self._by_head(
                attention.q_proj(layer.encoder_attn_layer_norm(hidden)), self.heads
            )
            keys, values = memory.heard_keys[number], memory.heard_values[number]
            if watch is not None and number in watched:
                scores = queries.float() @ keys.float().transpose(-1, -2) * self.head_width**-0.5
                watch(number, scores.softmax(dim=-1))
            mixed = scaled_dot_product_attention(queries, keys, values)
            hidden = hidden + attention.out_proj(_joined(mixed))
            hidden = hidden + layer.fc2(gelu(layer.fc1(layer.final_layer_norm(hidden))))
        return decoder.layer_norm(hidden)

    def logits(self, hidden: Tensor) -> Tensor:
        """In float32, whatever the model computes in."""
        return self._project(hidden).float()

    def _by_head(self, states: Tensor, heads: int) -> Tensor:
        return states.unflatten(-1, (heads, -1)).transpose(1, 2)


def _joined(by_head: Tensor) -> Tensor:
    return by_head.transpose(1, 2).flatten(2)
