"""Utterances made while the model trains: spoken, disguised, and turned into what a step needs."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from queue import Empty
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.making.acoustics import disguised, no_speech
from demo.making.features import log_mel
from demo.making.phrases import LANGUAGES, Language
from demo.making.sentences import sentence
from demo.making.speech_tokens import SpeechTokens
from demo.making.voices import SAMPLE_RATE, TRAINED_VARIANTS, any_voice, speak

CHARACTERS = {
    letter: index for index, letter in enumerate("abcdefghijklmnopqrstuvwxyz 'áâãàçéêíóôõúü-", 1)
}
"""What the encoder is taught to spell (CTC); 0 is the blank."""
_NO_SPEECH_SHARE = 0.05
_SHORTEST_S = 0.2
_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class Utterance:
    """`mel` is (80, frames) in float16; without speech `tokens` and `spelling` are empty."""

    mel: npt.NDArray[np.float16]
    language: Language
    tokens: tuple[int, ...]
    spelling: tuple[int, ...]
    begins_s: float
    ends_s: float


class UtteranceMaker:
    """`opus` needs PyAV."""

    def __init__(
        self, random: Random, tokens: SpeechTokens, *, longest_s: float, opus: bool
    ) -> None:
        self._random = random
        self._tokens = tokens
        self._longest = int(longest_s * SAMPLE_RATE)
        self._opus = opus

    def make(self) -> Utterance:
        random = self._random
        language = random.choice(LANGUAGES)
        if random.random() < _NO_SPEECH_SHARE:
            sound = no_speech(random, seconds=random.uniform(0.5, 6))
            return Utterance(log_mel(sound).astype(np.float16), language, (), (), 0.0, 0.0)
        while True:
            text = sentence(random, language)
            spoken = speak(text, any_voice(random, language, TRAINED_VARIANTS))
            if _SHORTEST_S * SAMPLE_RATE < len(spoken) < self._longest * 0.85:
                break
        sound, begins, ends = disguised(random, spoken, opus=self._opus)
        return Utterance(
            mel=log_mel(sound[: self._longest]).astype(np.float16),
            language=language,
            tokens=tuple(self._tokens.encode(text)),
            spelling=tuple(CHARACTERS[letter] for letter in text.lower() if letter in CHARACTERS),
            begins_s=begins,
            ends_s=ends,
        )


class UtterancePool:
    """As many utterances as fit, renewed by processes of its own while they are trained on."""

    def __init__(
        self, *, tokenizer: Path, longest_s: float, size: int, seed: int, processes: int, opus: bool
    ) -> None:
        context = multiprocessing.get_context("spawn")
        self._size = size
        self._queue: Any = context.Queue(64)
        self._oldest = 0
        self.utterances: list[Utterance] = []
        self.made = 0
        self._processes = [
            context.Process(
                target=_make,
                args=(tokenizer, longest_s, seed * 1_000 + index, opus, self._queue),
                daemon=True,
            )
            for index in range(processes)
        ]

    def __enter__(self) -> UtterancePool:
        for process in self._processes:
            process.start()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join(10)

    def fill(self, count: int) -> None:
        """Wait until there are `count`. Raises RuntimeError if nothing is made any more."""
        while len(self.utterances) < min(count, self._size):
            try:
                self._add(self._queue.get(timeout=_LIMIT_S))
            except Empty:
                raise RuntimeError("the processes that make utterances have stopped") from None

    def renew(self) -> None:
        """Take what is ready."""
        while True:
            try:
                self._add(self._queue.get_nowait())
            except Empty:
                return

    def _add(self, utterances: Iterable[Utterance]) -> None:
        for utterance in utterances:
            self.made += 1
            if len(self.utterances) < self._size:
                self.utterances.append(utterance)
            else:
                self.utterances[self._oldest] = utterance
                self._oldest = (self._oldest + 1) % self._size


def _make(tokenizer: Path, longest_s: float, seed: int, opus: bool, queue: Any) -> None:
    maker = UtteranceMaker(
        Random(seed), SpeechTokens.load(tokenizer), longest_s=longest_s, opus=opus
    )
    while True:
        queue.put([maker.make() for _ in range(16)])
