"""The demo speech model's tokens: byte-level BPE in Whisper's order, with timestamps.

faster-whisper suppresses what its tokenizer makes of " -", " '" and "♩" alone, so these must be tokens of
their own, or it would suppress every word's first byte.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from tokenizers import Tokenizer

from demo.making.phrases import LANGUAGES
from demo.making.sentences import sentence

END, START, PREVIOUS = "<|endoftext|>", "<|startoftranscript|>", "<|startofprev|>"
NO_SPEECH, NO_TIMESTAMPS, TRANSCRIBE = "<|nospeech|>", "<|notimestamps|>", "<|transcribe|>"
SPECIAL = (
    END,
    START,
    *(f"<|{language}|>" for language in LANGUAGES),
    "<|translate|>",
    TRANSCRIBE,
    "<|startoflm|>",
    PREVIOUS,
    NO_SPEECH,
    NO_TIMESTAMPS,
)
TIMESTAMP_S = 0.02
_ALONE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-'"
_MUSIC = "♩"


class SpeechTokens:
    """Text to tokens and the tokens that Whisper's prompts are made of."""

    def __init__(self, tokenizer: Any) -> None:
        """`tokenizer` is a `tokenizers.Tokenizer`."""
        self._tokenizer = tokenizer
        self.end = self._id(END)
        self.start = self._id(START)
        self.previous = self._id(PREVIOUS)
        self.no_speech = self._id(NO_SPEECH)
        self.no_timestamps = self._id(NO_TIMESTAMPS)
        self.transcribe = self._id(TRANSCRIBE)
        self.languages = {language: self._id(f"<|{language}|>") for language in LANGUAGES}
        self.first_timestamp = self.no_timestamps + 1
        self.lengths: list[int] = [len(tokenizer.id_to_token(token)) for token in range(self.end)]
        """Characters (bytes) of each text token."""

    @classmethod
    def load(cls, file: Path) -> SpeechTokens:
        return cls(Tokenizer.from_file(str(file)))

    @property
    def size(self) -> int:
        return self._tokenizer.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(f" {text}", add_special_tokens=False).ids if text else []

    def decode(self, tokens: Sequence[int]) -> str:
        return self._tokenizer.decode(list(tokens), skip_special_tokens=True).strip()

    def timestamp(self, seconds: float) -> int:
        return self.first_timestamp + min(
            self.size - 1 - self.first_timestamp, round(seconds / TIMESTAMP_S)
        )

    def _id(self, token: str) -> int:
        number = self._tokenizer.token_to_id(token)
        if number is None:
            raise ValueError(f"the tokenizer has no {token}")
        return number


def train_tokenizer(*, merges: int, longest_s: float, seed: int, sentences: int = 20_000) -> str:
    """The tokenizer as `tokenizers` reads it, JSON."""
    letters = _byte_letters()
    space = letters[ord(" ")]
    vocabulary = [letters[byte] for byte in sorted(letters)]
    rules: list[tuple[str, str]] = []

    def merge(first: str, second: str) -> None:
        rules.append((first, second))
        vocabulary.append(first + second)

    for letter in _ALONE:
        merge(space, letter)
    merge(space, letters[_MUSIC.encode()[0]])
    counts = _word_counts(letters, seed, sentences)
    pieces = {
        word: [space + word[1], *word[2:]] if word[0] == space else list(word) for word in counts
    }
    known = set(vocabulary)
    for word, parts in pieces.items():
        # A word that begins with a letter beyond ASCII: its first byte isn't merged with the space.
        if parts and parts[0] not in known:
            pieces[word] = [space, *word[1:]]
    for _ in range(merges):
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in pieces.items():
            for pair in pairwise(parts):
                # Damped, so that rare words get merges too.
                pairs[pair] += counts[word] ** 0.5
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merge(*best)
        pieces = {word: _merged(parts, best) for word, parts in pieces.items()}
    return _as_json(vocabulary, rules, longest_s)


def _word_counts(letters: dict[int, str], seed: int, sentences: int) -> Counter[str]:
    random = Random(seed)
    counts: Counter[str] = Counter()
    for index in range(sentences):
        text = f" {sentence(random, LANGUAGES[index % len(LANGUAGES)])}"
        for word in re.findall(r" ?[^\s?.!,]+|[?.!,]", text):
            counts["".join(letters[byte] for byte in word.encode())] += 1
    return counts


def _merged(parts: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    at = 0
    while at < len(parts):
        if at + 1 < len(parts) and (parts[at], parts[at + 1]) == pair:
            merged.append(parts[at] + parts[at + 1])
            at += 2
        else:
            merged.append(parts[at])
            at += 1
    return merged


def _as_json(vocabulary: list[str], rules: list[tuple[str, str]], longest_s: float) -> str:
    vocabulary = list(dict.fromkeys(vocabulary))
    timestamps = [
        f"<|{step * TIMESTAMP_S:.2f}|>" for step in range(round(longest_s / TIMESTAMP_S) + 1)
    ]
    added = [
        {
            "id": len(vocabulary) + index,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": index < len(SPECIAL),
        }
        for index, token in enumerate([*SPECIAL, *timestamps])
    ]
    level = {"type": "ByteLevel", "trim_offsets": True, "use_regex": True}
    document = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**level, "add_prefix_space": False},
        "post_processor": None,
        "decoder": {**level, "add_prefix_space": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "vocab": {token: index for index, token in enumerate(vocabulary)},
            "merges": [list(rule) for rule in rules],
        },
    }
    return json.dumps(document, ensure_ascii=False)


def _byte_letters() -> dict[int, str]:
    """The letter that byte-level BPE writes for each byte (GPT-2's table)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printable]
    letters = {byte: chr(byte) for byte in printable}
    return letters | {byte: chr(256 + index) for index, byte in enumerate(hidden)}
