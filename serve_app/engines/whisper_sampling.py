"""What Whisper says next: its rules for time stamps, and the state of a batch that is being written.

The rules are those of OpenAI's `ApplyTimestampRules`, for rows that stand at different places, without a
branch on data: the same calls can be captured in a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from serve_app.engines.whisper_rows import MAX_INITIAL_TIMESTAMP_INDEX, MAX_TOKENS

NEVER = -torch.inf


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Token numbers that mean something to the decoder."""

    size: int
    end: int
    start: int
    no_speech: int
    no_timestamps: int
    previous: int
    transcribe: int
    translate: int
    languages: dict[str, int]
    """By ISO 639-1; empty for an English model."""
    suppressed: tuple[int, ...]
    suppressed_at_begin: tuple[int, ...]

    @property
    def timestamp_begin(self) -> int:
        return self.no_timestamps + 1


class Draft:
    """Tokens that a batch has written so far. All tensors keep their place in memory."""

    def __init__(self, *, rows: int, device: torch.device) -> None:
        def whole(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.long, device=device)

        self.tokens = whole(rows, MAX_TOKENS)
        self.written = whole(rows)
        self.position = whole(rows)
        """Of the latest token, counted from the prompt's first."""
        self.latest = whole(rows)
        self.before = whole(rows)
        self.stamp = whole(rows)
        """The latest time stamp, or 0."""
        self.done = torch.zeros(rows, dtype=torch.bool, device=device)
        self.logprob = torch.zeros(rows, dtype=torch.float32, device=device)
        self._rows = torch.arange(rows, device=device)

    def begin(self, prompt_lengths: Tensor, *, rows: int) -> None:
        """Of which only the first `rows` are in use."""
        for tensor in (self.written, self.latest, self.before, self.stamp, self.logprob):
            tensor.zero_()
        self.position.copy_(prompt_lengths - 1)
        self.done.copy_(self._rows >= rows)

    def add(self, token: Tensor, logprob: Tensor, *, end: int, timestamp_begin: int) -> None:
        token = token.masked_fill(self.done, end)
        self.logprob += logprob.masked_fill(self.done, 0.0)
        ended = self.done | (token == end)
        self.tokens[self._rows, self.written] = token
        self.before.copy_(self.latest)
        self.latest.copy_(token)
        self.stamp.copy_(torch.where(token >= timestamp_begin, token, self.stamp))
        self.position += (~ended).long()
        self.written += (~ended).long()
        # The last position is never written to: a row without an end is cut off there.
        self.done.copy_(ended | (self.position >= MAX_TOKENS - 1))


class NextToken:
    def __init__(self, vocabulary: Vocabulary, *, device: torch.device) -> None:
        self._vocabulary = vocabulary
        ids = torch.arange(vocabulary.size, device=device)
        self._is_stamp = ids >= vocabulary.timestamp_begin
        self._is_text = ids < vocabulary.end
        self._ids = ids
        barred = [*vocabulary.suppressed, vocabulary.no_timestamps]
        self._always = _barring(vocabulary.size, barred, device)
        begin = _barring(vocabulary.size, vocabulary.suppressed_at_begin, device)
        too_late = ids > vocabulary.timestamp_begin + MAX_INITIAL_TIMESTAMP_INDEX
        self._at_begin = begin.masked_fill(~self._is_stamp | too_late, NEVER)

    def choose(
        self,
        logits: Tensor,
        draft: Draft,
        *,
        temperature: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> None:
        """Add each row's next token to its draft: the likeliest, or a sample at `temperature`."""
        logprobs = self._allowed(logits, draft).log_softmax(dim=-1)
        if temperature:
            chances = (logprobs / temperature).softmax(dim=-1)
            token = torch.multinomial(chances, 1, generator=generator)[:, 0]
        else:
            token = logprobs.argmax(dim=-1)
        draft.add(
            token,
            logprobs.gather(-1, token[:, None])[:, 0],
            end=self._vocabulary.end,
            timestamp_begin=self._vocabulary.timestamp_begin,
        )

    def _allowed(self, logits: Tensor, draft: Draft) -> Tensor:
        begin = self._vocabulary.timestamp_begin
        first = (draft.written == 0)[:, None]
        logits = logits + self._always
        after_stamp = (draft.latest >= begin)[:, None] & ~first
        paired = ((draft.before >= begin) | (draft.written < 2))[:, None]
        # A stamp that ended a segment is followed by the next one's beginning, or by the end.
        logits = logits.masked_fill(after_stamp & paired & self._is_stamp, NEVER)
        logits = logits.masked_fill(after_stamp & ~paired & self._is_text, NEVER)
        # Time doesn't go back, and a segment isn't empty.
        earliest = draft.stamp[:, None] + (~(after_stamp & ~paired)).long()
        logits = logits.masked_fill(self._is_stamp & (self._ids < earliest), NEVER)
        logits = torch.where(first, logits + self._at_begin, logits)
        logprobs = logits.log_softmax(dim=-1)
        stamps = logprobs.masked_fill(~self._is_stamp, NEVER).logsumexp(dim=-1, keepdim=True)
        words = logprobs.masked_fill(self._is_stamp, NEVER).amax(dim=-1, keepdim=True)
        return logits.masked_fill((stamps > words) & ~self._is_stamp, NEVER)


def _barring(size: int, tokens: Sequence[int], device: torch.device) -> Tensor:
    bias = torch.zeros(size, device=device)
    bias[list(tokens)] = NEVER
    return bias
