"""One batch through CTranslate2's Whisper: encode, detect languages, generate. Blocking.

Mirrors `faster_whisper.WhisperModel` 1.2.1 (`generate_with_fallback`, `generate_segments`) with its
defaults, for rows of different recordings and languages at once instead of one recording at a time.
The encoder runs once per batch, also where languages are detected.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from serve_app.engines.whisper_rows import (
    BEST_OF,
    MAX_INITIAL_TIMESTAMP_INDEX,
    MAX_TOKENS,
    RETRY_TEMPERATURES,
    Heard,
    SpeechRow,
    TimedWord,
    best_try,
    compression_ratio,
    context_tokens,
    stacked,
)

BEAM_SIZE = 5


class CTranslate2Decoder:
    """`model` is a loaded `faster_whisper.WhisperModel`."""

    def __init__(self, *, model: Any) -> None:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens

        self._model = model
        self._whisper = model.model
        self._multilingual: bool = self._whisper.is_multilingual
        self._tokenizer: Any = Tokenizer(
            model.hf_tokenizer, self._multilingual, task="transcribe", language="en"
        )
        # -1 stands for the tokens that nobody speaks; the parameter is annotated too narrowly.
        default: Any = [-1]
        self._suppressed: Any = get_suppressed_tokens(self._tokenizer, default)

    @property
    def timestamp_begin(self) -> int:
        return self._tokenizer.timestamp_begin

    def language(self, wanted: str | None) -> str | None:
        if not self._multilingual:
            return "en"
        code = wanted.lower().replace("_", "-").split("-")[0] if wanted else None
        return code if code in self._model.supported_languages else None

    def context(self, prompt: str | None, hot_words: Sequence[str]) -> tuple[int, ...]:
        return context_tokens(
            self._tokenizer.encode,
            start_of_previous=self._tokenizer.sot_prev,
            prompt=prompt,
            hot_words=hot_words,
        )

    def batch_key(self, row: SpeechRow) -> Hashable:
        """CTranslate2 wants the transcripts of a batch to start at one position."""
        return row.frames, len(row.context)

    def decode(self, rows: Sequence[SpeechRow]) -> list[Heard]:
        """With beam search."""
        encoded = self._model.encode(stacked(rows))
        languages = self._languages(rows, encoded)
        prompts = [self._prompt(row, code) for row, (code, _) in zip(rows, languages, strict=True)]
        results = self._generate(encoded, prompts, beam_size=BEAM_SIZE, patience=1)
        heard = [
            self._heard(result, code, probability)
            for result, (code, probability) in zip(results, languages, strict=True)
        ]
        return [
            self._with_encoding(row, encoded, index) if row.suspect else row
            for index, row in enumerate(heard)
        ]

    def retry(self, row: SpeechRow, first: Heard) -> Heard:
        encoded = self._encoded_again(row, first)
        tries = [first]
        for temperature in RETRY_TEMPERATURES:
            [result] = self._generate(
                encoded,
                [self._prompt(row, first.language)],
                beam_size=1,
                num_hypotheses=BEST_OF,
                sampling_topk=0,
                sampling_temperature=temperature,
            )
            heard = self._heard(result, first.language, first.language_probability)
            if not heard.suspect:
                return heard
            tries.append(heard)
        return best_try(tries)

    def text(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens))

    def words(
        self, row: SpeechRow, heard: Heard, *, tokens: Sequence[int], content_frames: int
    ) -> list[TimedWord]:
        from faster_whisper.tokenizer import Tokenizer

        spoken = [token for token in tokens if token < self._tokenizer.eot]
        tokenizer: Any = Tokenizer(
            self._model.hf_tokenizer,
            self._multilingual,
            task="translate" if row.translate else "transcribe",
            language=heard.language,
        )
        [found] = self._model.find_alignment(
            tokenizer, [spoken], self._encoded_again(row, heard), content_frames
        ) or [[]]
        return [
            TimedWord(word["word"], word["start"], word["end"], float(word["probability"]))
            for word in found
        ]

    def _encoded_again(self, row: SpeechRow, heard: Heard) -> Any:
        import ctranslate2

        if heard.encoded is None:
            return self._model.encode(stacked([row]))
        return ctranslate2.StorageView.from_array(heard.encoded)

    def _languages(self, rows: Sequence[SpeechRow], encoded: Any) -> list[tuple[str, float | None]]:
        if all(row.language for row in rows):
            return [(row.language or "", None) for row in rows]
        detected = self._whisper.detect_language(encoded)
        return [
            # Tokens look like <|en|>.
            (row.language, None) if row.language else (best[0][0][2:-2], best[0][1])
            for row, best in zip(rows, detected, strict=True)
        ]

    def _generate(self, encoded: Any, prompts: Sequence[list[int]], **search: Any) -> list[Any]:
        return self._whisper.generate(
            encoded,
            prompts,
            length_penalty=1,
            max_length=MAX_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=True,
            suppress_tokens=self._suppressed,
            max_initial_timestamp_index=MAX_INITIAL_TIMESTAMP_INDEX,
            **search,
        )

    def _prompt(self, row: SpeechRow, language: str) -> list[int]:
        if not self._multilingual:
            return [*row.context, self._tokenizer.sot]
        code = self._tokenizer.tokenizer.token_to_id(f"<|{language}|>")
        task = self._tokenizer.translate if row.translate else self._tokenizer.transcribe
        return [*row.context, self._tokenizer.sot, code, task]

    def _heard(self, result: Any, language: str, probability: float | None) -> Heard:
        tokens = tuple(result.sequences_ids[0])
        return Heard(
            tokens=tokens,
            # The score is the mean over the tokens; the end of text counts as one more.
            average_logprob=result.scores[0] * len(tokens) / (len(tokens) + 1),
            compression_ratio=compression_ratio(self.text(tokens).strip()),
            no_speech_probability=result.no_speech_prob,
            language=language,
            language_probability=probability,
        )

    def _with_encoding(self, heard: Heard, encoded: Any, index: int) -> Heard:
        """On a GPU the retry encodes again: rare, and cheaper than copying every batch out."""
        import numpy as np

        if encoded.device != "cpu":
            return heard
        return replace(heard, encoded=np.array(encoded)[index : index + 1].copy())
