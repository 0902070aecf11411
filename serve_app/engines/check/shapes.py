"""Models of random weights in the shapes of real ones: speed and memory are theirs, words aren't."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SpeechShape:
    name: str
    width: int
    encoder_layers: int
    decoder_layers: int
    heads: int
    feed_forward: int
    mel_bands: int
    vocabulary: int


@dataclass(frozen=True, slots=True)
class ChatShape:
    name: str
    width: int
    layers: int
    heads: int
    key_heads: int
    head_width: int
    feed_forward: int
    vocabulary: int


TURBO = SpeechShape("Whisper large-v3-turbo", 1280, 32, 4, 20, 5120, 128, 51_866)
TINY_SPEECH = SpeechShape("tiny Whisper", 64, 2, 2, 4, 128, 80, 51_866)
CHAT_8B = ChatShape("Qwen3 8B", 4096, 36, 32, 8, 128, 12_288, 151_936)
CHAT_06B = ChatShape("Qwen3 0.6B", 1024, 28, 16, 8, 128, 3072, 151_936)
TINY_CHAT = ChatShape("tiny chat model", 64, 2, 4, 2, 16, 128, 512)


CHAT_SHAPES = {"tiny": TINY_CHAT, "0.6b": CHAT_06B, "8b": CHAT_8B}
"""By what they are called on the command line."""


def speech_model(shape: SpeechShape, *, device: str, dtype: Any) -> Any:
    import torch
    from transformers import AutoModelForSpeechSeq2Seq, WhisperConfig

    config = WhisperConfig(
        vocab_size=shape.vocabulary,
        d_model=shape.width,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.heads,
        decoder_attention_heads=shape.heads,
        encoder_ffn_dim=shape.feed_forward,
        decoder_ffn_dim=shape.feed_forward,
        num_mel_bins=shape.mel_bands,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForSpeechSeq2Seq.from_config(config, dtype=dtype)
    return model.to(device).eval()


def chat_model(shape: ChatShape, *, device: str, dtype: Any) -> Any:
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_heads,
        head_dim=shape.head_width,
        intermediate_size=shape.feed_forward,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    torch.manual_seed(0)
    with torch.device(device):
        model: Any = AutoModelForCausalLM.from_config(config, dtype=dtype)
    model.generation_config.eos_token_id = 1
    model.generation_config.pad_token_id = 1
    return model.to(device).eval()


def speech_floor_s(shape: SpeechShape, *, tokens: int, flops: float, bandwidth: float) -> float:
    """Seconds that one 30 s window needs at least, in a batch that keeps the weights: the encoder's
    arithmetic, and for each token the reading of the cross attention's keys and values."""
    positions, width = 1500, shape.width
    layer = 2 * positions * (4 * width * width + 2 * width * shape.feed_forward)
    attention = 4 * positions * positions * width
    encoder = shape.encoder_layers * (layer + attention)
    cross = shape.decoder_layers * 2 * 2 * positions * width * width
    read = shape.decoder_layers * 2 * positions * width * 2 * tokens
    return (encoder + cross) / flops + read / bandwidth


def chat_floor_s(
    parameters: int, shape: ChatShape, *, rows: int, context: int, bandwidth: float
) -> float:
    """Seconds that one step needs at least: reading the weights and every row's keys and values, 16 bit."""
    weights = 2 * (parameters - shape.vocabulary * shape.width)
    kept = rows * context * shape.layers * 2 * shape.key_heads * shape.head_width * 2
    return (weights + kept) / bandwidth
