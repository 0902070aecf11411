"""The trained speech model for transformers, and in CTranslate2's int8 for faster-whisper."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, WhisperFeatureExtractor

from demo.making.features import MELS
from demo.making.sizes import SpeechSize
from demo.making.speech_network import TARGET_POSITIONS, SpeechNetwork
from demo.making.speech_tokens import END, SPECIAL, SpeechTokens
from demo.making.voices import SAMPLE_RATE

_MAX_INITIAL_TIMESTAMP = 50


def export_speech(
    size: SpeechSize, *, tokenizer: Path, checkpoint: Path, target: Path, converted: Path
) -> None:
    """`target` for transformers, `converted` for faster-whisper (needs CTranslate2)."""
    tokens = SpeechTokens.load(tokenizer)
    network = SpeechNetwork(size, tokens)
    averaged = torch.optim.swa_utils.AveragedModel(network)
    state = torch.load(checkpoint / "state.pt", map_location="cpu", weights_only=True)
    both = torch.nn.ModuleDict({"network": network, "averaged": averaged})
    both.load_state_dict(state["model"])
    best: Any = averaged.module
    model = best.finished()
    spoken = [tokens.end, tokens.no_speech]
    unspeakable = [
        number
        for number in range(tokens.end, tokens.first_timestamp)
        if number not in (*spoken, tokens.no_timestamps)
    ]
    model.generation_config = GenerationConfig(
        bos_token_id=tokens.end,
        eos_token_id=tokens.end,
        pad_token_id=tokens.end,
        decoder_start_token_id=tokens.start,
        suppress_tokens=[*unspeakable, tokens.no_speech],
        begin_suppress_tokens=[tokens.end],
        max_length=TARGET_POSITIONS,
        is_multilingual=False,
        no_timestamps_token_id=tokens.no_timestamps,
        prev_sot_token_id=tokens.previous,
        max_initial_timestamp_index=_MAX_INITIAL_TIMESTAMP,
        return_timestamps=False,
    )
    model.save_pretrained(target)
    _write_tokenizer(tokenizer, target)
    WhisperFeatureExtractor(feature_size=MELS, chunk_length=30).save_pretrained(target)
    _convert(target, converted, tokenizer)


def _write_tokenizer(tokenizer: Path, target: Path) -> None:
    document: dict[str, Any] = json.loads(tokenizer.read_text(encoding="utf-8"))
    shutil.copy(tokenizer, target / "tokenizer.json")
    vocabulary = json.dumps(document["model"]["vocab"], ensure_ascii=False)
    (target / "vocab.json").write_text(vocabulary, encoding="utf-8")
    merges = "\n".join(" ".join(rule) for rule in document["model"]["merges"])
    (target / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    keys = ("content", "single_word", "lstrip", "rstrip", "normalized", "special")
    settings = {
        "tokenizer_class": "WhisperTokenizer",
        **dict.fromkeys(("unk_token", "bos_token", "eos_token", "pad_token"), END),
        "additional_special_tokens": [token for token in SPECIAL if token != END],
        "added_tokens_decoder": {
            str(token["id"]): {key: token[key] for key in keys}
            for token in document["added_tokens"]
        },
        "add_prefix_space": False,
        "model_max_length": TARGET_POSITIONS,
        "clean_up_tokenization_spaces": False,
    }
    (target / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")


def _convert(source: Path, target: Path, tokenizer: Path) -> None:
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(source)).convert(str(target), quantization="int8", force=True)
    shutil.copy(tokenizer, target / "tokenizer.json")
    settings = {
        "chunk_length": 30,
        "feature_size": MELS,
        "hop_length": 160,
        "n_fft": 400,
        "sampling_rate": SAMPLE_RATE,
    }
    (target / "preprocessor_config.json").write_text(json.dumps(settings), encoding="utf-8")
