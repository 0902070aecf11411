"""One batch through Whisper on torch: encode, detect languages, write greedily. Blocking."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from serve_app.engines.whisper_alignment import aligned_words, alignment_heads
from serve_app.engines.whisper_network import WhisperNetwork
from serve_app.engines.whisper_rows import (
    BEST_OF,
    RETRY_TEMPERATURES,
    Heard,
    SpeechRow,
    TimedWord,
    best_try,
    compression_ratio,
    context_tokens,
    stacked,
)
from serve_app.engines.whisper_sampling import Vocabulary
from serve_app.engines.whisper_writing import Writer, Written

RETRY_SEED = 7
"""A recording that is heard twice gives the same text twice."""


class TorchDecoder:
    """`model` is a `WhisperForConditionalGeneration`, `tokenizer` its own."""

    def __init__(self, *, model: Any, tokenizer: Any, graph_sizes: Sequence[int] = ()) -> None:
        self.network = WhisperNetwork(model)
        self._tokenizer = tokenizer
        self.vocabulary = vocabulary_of(model, tokenizer)
        self.writer = Writer(
            network=self.network, vocabulary=self.vocabulary, graph_sizes=graph_sizes
        )
        self._alignment_heads = alignment_heads(model)

    @property
    def timestamp_begin(self) -> int:
        return self.vocabulary.timestamp_begin

    def language(self, wanted: str | None) -> str | None:
        if not self.vocabulary.languages:
            return "en"
        code = wanted.lower().replace("_", "-").split("-")[0] if wanted else None
        return code if code in self.vocabulary.languages else None

    def context(self, prompt: str | None, hot_words: Sequence[str]) -> tuple[int, ...]:
        return context_tokens(
            lambda text: self._tokenizer.encode(text, add_special_tokens=False),
            start_of_previous=self.vocabulary.previous,
            prompt=prompt,
            hot_words=hot_words,
        )

    def batch_key(self, row: SpeechRow) -> Hashable:
        return row.frames

    @torch.inference_mode()
    def decode(self, rows: Sequence[SpeechRow]) -> list[Heard]:
        encoded = self._encode(rows)
        languages = self._languages(rows, encoded)
        prompts = [self._prompt(row, code) for row, (code, _) in zip(rows, languages, strict=True)]
        written = self.writer.write(encoded, prompts)
        heard = [
            self._heard(each, code, probability)
            for each, (code, probability) in zip(written, languages, strict=True)
        ]
        if encoded.device.type != "cpu":
            # The retry encodes again: rare, and cheaper than copying every batch out.
            return heard
        return [
            self._with_encoding(each, encoded[index : index + 1])
            for index, each in enumerate(heard)
        ]

    @torch.inference_mode()
    def retry(self, row: SpeechRow, first: Heard) -> Heard:
        encoded = self._encoded_again(row, first).expand(BEST_OF, -1, -1)
        generator = torch.Generator(device=encoded.device).manual_seed(RETRY_SEED)
        prompts = [self._prompt(row, first.language)] * BEST_OF
        tries = [first]
        for temperature in RETRY_TEMPERATURES:
            written = self.writer.write(
                encoded, prompts, temperature=temperature, generator=generator
            )
            heard = max(
                (self._heard(each, first.language, first.language_probability) for each in written),
                key=lambda each: each.average_logprob,
            )
            if not heard.suspect:
                return heard
            tries.append(heard)
        return best_try(tries)

    def text(self, tokens: Sequence[int]) -> str:
        words = [token for token in tokens if token < self.vocabulary.end]
        return self._tokenizer.decode(words, clean_up_tokenization_spaces=False)

    @torch.inference_mode()
    def words(
        self, row: SpeechRow, heard: Heard, *, tokens: Sequence[int], content_frames: int
    ) -> list[TimedWord]:
        return aligned_words(
            self.network,
            self._tokenizer,
            self.vocabulary,
            heads=self._alignment_heads,
            encoded=self._encoded_again(row, heard),
            prompt=self._prompt(row, heard.language),
            spoken=[token for token in tokens if token < self.vocabulary.end],
            language=heard.language,
            content_frames=content_frames,
        )

    def _encode(self, rows: Sequence[SpeechRow]) -> Tensor:
        return self.network.encode(torch.from_numpy(stacked(rows)))

    def _encoded_again(self, row: SpeechRow, heard: Heard) -> Tensor:
        return self._encode([row]) if heard.encoded is None else heard.encoded

    def _languages(
        self, rows: Sequence[SpeechRow], encoded: Tensor
    ) -> list[tuple[str, float | None]]:
        """From the same encoding, with one more token for the whole batch."""
        if not self.vocabulary.languages:
            return [("en", None)] * len(rows)
        if all(row.language for row in rows):
            return [(row.language or "", None) for row in rows]
        codes = list(self.vocabulary.languages)
        logits = self.writer.first_logits(encoded, [self.vocabulary.start])
        ids = torch.tensor(list(self.vocabulary.languages.values()), device=logits.device)
        chances, best = logits[:, ids].softmax(dim=-1).max(dim=-1)
        return [
            (row.language, None) if row.language else (codes[index], chance)
            for row, index, chance in zip(rows, best.tolist(), chances.tolist(), strict=True)
        ]

    def _prompt(self, row: SpeechRow, language: str) -> list[int]:
        known = self.vocabulary
        if not known.languages:
            return [*row.context, known.start]
        task = known.translate if row.translate else known.transcribe
        return [*row.context, known.start, known.languages[language], task]

    def _heard(self, written: Written, language: str, probability: float | None) -> Heard:
        return Heard(
            tokens=written.tokens,
            average_logprob=written.logprob / (len(written.tokens) + 1),
            compression_ratio=compression_ratio(self.text(written.tokens).strip()),
            no_speech_probability=written.no_speech_probability,
            language=language,
            language_probability=probability,
        )

    def _with_encoding(self, heard: Heard, encoded: Tensor) -> Heard:
        return replace(heard, encoded=encoded.clone()) if heard.suspect else heard


def vocabulary_of(model: Any, tokenizer: Any) -> Vocabulary:
    """From the tokenizer's special tokens and the model's `generation_config`."""
    known = tokenizer.get_vocab()
    options = model.generation_config
    end = known["<|endoftext|>"]
    specials = [
        known[token]
        for token in (
            "<|startoftranscript|>",
            "<|translate|>",
            "<|transcribe|>",
            "<|startoflm|>",
            "<|startofprev|>",
        )
        if token in known
    ]
    no_speech = known.get("<|nospeech|>", known.get("<|nocaptions|>", end))
    languages = getattr(options, "lang_to_id", None) or {}
    multilingual = getattr(options, "is_multilingual", bool(languages))
    return Vocabulary(
        size=int(model.proj_out.weight.shape[0]),
        end=end,
        start=known["<|startoftranscript|>"],
        no_speech=no_speech,
        no_timestamps=known["<|notimestamps|>"],
        previous=known["<|startofprev|>"],
        transcribe=known["<|transcribe|>"],
        translate=known["<|translate|>"],
        # Tokens look like <|en|>.
        languages={token[2:-2]: id for token, id in languages.items()} if multilingual else {},
        suppressed=(
            *(options.suppress_tokens or ()),
            *specials,
            *([no_speech] if no_speech != end else []),
        ),
        suppressed_at_begin=tuple(options.begin_suppress_tokens or ()),
    )
