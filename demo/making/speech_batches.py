"""Utterances to the tensors of a training step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from random import Random

import numpy as np
import torch
from torch import Tensor

from demo.making.features import MELS
from demo.making.speech_network import Guide
from demo.making.speech_tokens import SpeechTokens
from demo.making.utterances import Utterance

IGNORED = -100
_WITH_TIMESTAMPS = 0.6
_WITH_LANGUAGE = 0.6
_WITH_PREVIOUS = 0.1
_PADDED_WITH_FLOOR = 0.3
"""faster-whisper pads with zeros, transformers with what silence looks like."""
_MASKED = 0.6
_REPLACED = 0.1
"""Tokens of the decoder's input that are changed, so that it listens rather than recites."""
_LONGEST_GUIDED_S = 10.0
_JITTER = 25


@dataclass(frozen=True, slots=True)
class SpeechBatch:
    mel: Tensor
    floor: Tensor
    tokens: Tensor
    labels: Tensor
    heard: Tensor
    """Encoder positions with sound of each row."""
    spelling: Tensor
    """All rows' letters, one behind the other, as CTC takes them."""
    spelling_lengths: Tensor
    guide: Guide

    def to(self, device: str) -> SpeechBatch:
        guide = Guide(
            rows=self.guide.rows.to(device),
            steps=self.guide.steps.to(device),
            positions=self.guide.positions.to(device),
        )
        moved = {
            each.name: getattr(self, each.name).to(device)
            for each in fields(self)
            if each.name != "guide"
        }
        return SpeechBatch(**moved, guide=guide)


class SpeechBatcher:
    def __init__(self, tokens: SpeechTokens, random: Random, *, frames: int) -> None:
        """`frames`: mel frames of a batch, padding included."""
        self._tokens = tokens
        self._random = random
        self._frames = frames

    def batches(self, utterances: Sequence[Utterance]) -> Iterator[SpeechBatch]:
        """All utterances once, those of like length together, in random order."""
        jitter = {id(one): self._random.uniform(-_JITTER, _JITTER) for one in utterances}
        by_length = sorted(utterances, key=lambda one: one.mel.shape[1] + jitter[id(one)])
        groups: list[list[Utterance]] = [[]]
        longest = 0
        for one in by_length:
            longest = max(longest, one.mel.shape[1])
            if groups[-1] and longest * (len(groups[-1]) + 1) > self._frames:
                groups.append([])
                longest = one.mel.shape[1]
            groups[-1].append(one)
        self._random.shuffle(groups)
        for group in groups:
            if group:
                yield self._batch(group)

    def _batch(self, group: Sequence[Utterance]) -> SpeechBatch:
        frames = max(one.mel.shape[1] for one in group) + self._random.randint(0, 20)
        frames += frames % 2
        mel = np.zeros((len(group), MELS, frames), np.float32)
        floor = np.zeros(len(group), np.float32)
        rows: list[_Row] = []
        for index, one in enumerate(group):
            features = one.mel.astype(np.float32)
            if self._random.random() < _PADDED_WITH_FLOOR:
                floor[index] = features.min()
                mel[index] = floor[index]
            mel[index, :, : features.shape[1]] = self._masked(features)
            rows.append(self._row(one, group))
        longest = max(len(row.tokens) for row in rows)
        guides = [
            (index, step, position)
            for index, row in enumerate(rows)
            for step, position in row.guided
        ]
        columns = np.array(guides, np.float32).reshape(-1, 3).T
        spelled = [letter for one in group for letter in one.spelling]
        return SpeechBatch(
            mel=torch.from_numpy(mel),
            floor=torch.from_numpy(floor),
            tokens=torch.tensor([_padded(row.tokens, longest, self._tokens.end) for row in rows]),
            labels=torch.tensor([_padded(row.labels, longest, IGNORED) for row in rows]),
            heard=torch.tensor([one.mel.shape[1] // 2 for one in group]),
            spelling=torch.tensor(spelled, dtype=torch.long),
            spelling_lengths=torch.tensor([len(one.spelling) for one in group]),
            guide=Guide(
                rows=torch.from_numpy(columns[0]).long(),
                steps=torch.from_numpy(columns[1]).long(),
                positions=torch.from_numpy(columns[2].copy()),
            ),
        )

    def _row(self, one: Utterance, group: Sequence[Utterance]) -> _Row:
        tokens, random = self._tokens, self._random
        timed = random.random() < _WITH_TIMESTAMPS
        previous: list[int] = []
        if random.random() < _WITH_PREVIOUS:
            previous = [tokens.previous, *random.choice(group).tokens]
        prompt, labels = [tokens.start], []
        if random.random() < _WITH_LANGUAGE:
            # The first token tells the language where nobody else does.
            prompt += [tokens.languages[one.language], tokens.transcribe]
            labels += [tokens.languages[one.language] if one.tokens else IGNORED, IGNORED]
        if not one.tokens:
            prompt.append(tokens.first_timestamp if timed else tokens.no_timestamps)
            labels += [tokens.no_speech, tokens.end]
            return _Row([*previous, *prompt], [*[IGNORED] * len(previous), *labels], [])
        start = len(previous) + len(prompt)
        text = list(one.tokens)
        if timed:
            first, last = tokens.timestamp(one.begins_s), tokens.timestamp(one.ends_s)
            inputs = [*prompt, first, *text, last]
            labels += [first, *text, last, tokens.end]
        else:
            inputs = [*prompt, tokens.no_timestamps, *text]
            labels += [IGNORED, *text, tokens.end]
        inputs = [self._changed(token) for token in inputs]
        return _Row(
            [*previous, *inputs], [*[IGNORED] * len(previous), *labels], self._guided(one, start)
        )

    def _guided(self, one: Utterance, start: int) -> list[tuple[int, float]]:
        """The step that writes each token, and the encoder position where it should be spoken: in proportion
        to its letters, which holds for short utterances only."""
        if one.ends_s - one.begins_s > _LONGEST_GUIDED_S:
            return []
        ends = np.cumsum([self._tokens.lengths[token] for token in one.tokens])
        middles = (ends - np.diff(ends, prepend=0) / 2) / ends[-1]
        seconds = one.begins_s + middles * (one.ends_s - one.begins_s)
        return [
            (start + index, float(second * 50))
            for index, second in enumerate(seconds)
            if second * 50 < one.mel.shape[1] // 2
        ]

    def _changed(self, token: int) -> int:
        if token < self._tokens.end and self._random.random() < _REPLACED:
            return self._random.randrange(256, self._tokens.end)
        return token

    def _masked(self, features: np.ndarray) -> np.ndarray:
        """SpecAugment: a band and up to two moments are blanked."""
        random = self._random
        features = features + random.uniform(-0.1, 0.1)
        if random.random() > _MASKED:
            return features
        mean = features.mean()
        width = random.randint(0, 12)
        band = random.randint(0, MELS - width)
        features[band : band + width] = mean
        for _ in range(random.randint(0, 2)):
            width = random.randint(1, 8)
            moment = random.randint(0, max(0, features.shape[1] - width))
            features[:, moment : moment + width] = mean
        return features


@dataclass(frozen=True, slots=True)
class _Row:
    tokens: list[int]
    labels: list[int]
    guided: list[tuple[int, float]]


def _padded(values: list[int], length: int, value: int) -> list[int]:
    return [*values, *[value] * (length - len(values))]
