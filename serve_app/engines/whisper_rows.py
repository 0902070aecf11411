"""What goes into a batch of Whisper and comes out, whichever library computes it.

The rules by which a row is doubted, taken for silence, and cut into segments are those of
`faster_whisper.WhisperModel` 1.2.1 with its defaults.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BEST_OF = 5
"""Samples drawn at each temperature of a retry."""
MAX_TOKENS = 448
"""Tokens of prompt and transcript, Whisper's positions."""
MAX_CONTEXT_TOKENS = MAX_TOKENS // 2 - 1
MAX_INITIAL_TIMESTAMP_INDEX = 50
MAX_COMPRESSION_RATIO = 2.4
"""Above it the text repeats itself."""
MIN_LOGPROB = -1.0
"""Average log probability of a token below which the model guesses."""
MAX_NO_SPEECH = 0.6
RETRY_TEMPERATURES = (0.2, 0.4, 0.6, 0.8, 1.0)
FRAMES_PER_TIMESTAMP = 2
"""Time stamps are 20 ms apart, frames 10 ms."""


@dataclass(frozen=True, slots=True)
class SpeechRow:
    """`features` is (mel bands, frames), which `stacked` pads to `frames`, its bucket; `language` None
    detects it."""

    features: NDArray[np.float32]
    frames: int
    language: str | None
    padding: float = 0.0
    """What the frames behind the features hold."""
    context: tuple[int, ...] = ()
    """Tokens before the transcript's start, from `WhisperDecoder.context`."""
    translate: bool = False
    """Into English, whatever is spoken."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What the decoder made of one row."""

    tokens: tuple[int, ...]
    average_logprob: float
    compression_ratio: float
    no_speech_probability: float
    language: str
    language_probability: float | None = None
    """None unless it was detected."""
    encoded: Any = None
    """The row's encoder output, kept on CPU for rows that need another try."""

    @property
    def silent(self) -> bool:
        return self.no_speech_probability > MAX_NO_SPEECH and self.average_logprob <= MIN_LOGPROB

    @property
    def repetitive(self) -> bool:
        return self.compression_ratio > MAX_COMPRESSION_RATIO

    @property
    def suspect(self) -> bool:
        """Worth another try at a higher temperature."""
        if self.no_speech_probability > MAX_NO_SPEECH and self.average_logprob < MIN_LOGPROB:
            return False
        return self.repetitive or self.average_logprob < MIN_LOGPROB


@dataclass(frozen=True, slots=True)
class TimedWord:
    """Seconds from the window's start."""

    text: str
    start: float
    end: float
    probability: float


class WhisperDecoder(Protocol):
    """One loaded model. Every method blocks; several threads may call at once."""

    def language(self, wanted: str | None) -> str | None:
        """The model's code for an ISO 639-1 code, regions left out; None (detect) if it knows none."""
        ...

    def context(self, prompt: str | None, hot_words: Sequence[str]) -> tuple[int, ...]:
        """Tokens that make the model expect these words; see `context_tokens`."""
        ...

    def batch_key(self, row: SpeechRow) -> Hashable:
        """Rows with equal keys may share a batch."""
        ...

    def decode(self, rows: Sequence[SpeechRow]) -> list[Heard]:
        """One pass over rows of equal key, without retries."""
        ...

    def retry(self, row: SpeechRow, first: Heard) -> Heard:
        """Sample at rising temperatures until a try convinces; see `best_try`."""
        ...

    def text(self, tokens: Sequence[int]) -> str:
        """Words alone: time stamps and other special tokens are left out."""
        ...

    @property
    def timestamp_begin(self) -> int: ...

    def words(
        self, row: SpeechRow, heard: Heard, *, tokens: Sequence[int], content_frames: int
    ) -> list[TimedWord]:
        """When each word of `tokens`, a part of `heard`, was said, by the decoder's cross attention."""
        ...


def stacked(rows: Sequence[SpeechRow]) -> NDArray[np.float32]:
    """(rows, mel bands, frames) of rows that share a bucket."""
    import numpy as np

    bands = rows[0].features.shape[0]
    batch = np.empty((len(rows), bands, rows[0].frames), dtype=np.float32)
    for place, row in zip(batch, rows, strict=True):
        content = row.features.shape[-1]
        place[:, :content] = row.features
        place[:, content:] = row.padding
    return batch


def compression_ratio(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def context_tokens(
    encode: Callable[[str], Sequence[int]],
    *,
    start_of_previous: int,
    prompt: str | None,
    hot_words: Sequence[str],
) -> tuple[int, ...]:
    """Hot words and the prompt's end as "previous text", at most half of the model's positions."""
    tokens: list[int] = []
    if hot_words:
        tokens += list(encode(" " + ", ".join(hot_words)))[: MAX_CONTEXT_TOKENS - 1]
    room = MAX_CONTEXT_TOKENS - 1 - len(tokens)
    if prompt and prompt.strip() and room:
        tokens += list(encode(" " + prompt.strip()))[-room:]
    return (start_of_previous, *tokens) if tokens else ()


def best_try(tries: Sequence[Heard]) -> Heard:
    """The likeliest that doesn't repeat itself; the likeliest of all where each does."""
    varied = [heard for heard in tries if not heard.repetitive]
    return max(varied or tries, key=lambda heard: heard.average_logprob)


def finished_segments(
    tokens: Sequence[int], *, timestamp_begin: int, content_frames: int
) -> tuple[list[Sequence[int]], int]:
    """Segments that the model ended, and the frame up to which it understood the window.

    Two time stamps in a row end a segment. One that was begun and not ended is left out, so that it
    can be heard again from its start; a window without any pair is one segment.
    """
    stamps = [token >= timestamp_begin for token in tokens]
    ends = [at for at in range(1, len(tokens)) if stamps[at - 1] and stamps[at]]
    if not ends:
        return [tokens], content_frames
    closed = len(tokens) >= 2 and stamps[-1] and not stamps[-2]
    if closed:
        ends.append(len(tokens))
    segments = [tokens[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    understood = content_frames
    if not closed:
        understood = (segments[-1][-1] - timestamp_begin) * FRAMES_PER_TIMESTAMP
    return [segment for segment in segments if segment[0] != segment[-1]], understood
