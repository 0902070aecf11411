"""A recording's way to the encoder: samples, passages with speech, windows, mel features.

Runs in an engine's own threads. A clip that fits one window is prepared exactly as
`faster_whisper.WhisperModel.transcribe(vad_filter=...)` would; a longer one is cut where nobody speaks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from serve_app.engines.audio import SAMPLE_RATE, decode_audio
from serve_app.engines.speech_detection import find_speech, speech_chances

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CUT_STEP = SAMPLE_RATE // 50
"""Resolution of the search for a quiet place to cut, 20 ms."""
SHORT_SILENCE = SAMPLE_RATE * 160 // 1000
"""Samples of silence between two passages of a recording that has to be cut anyway."""


class MelFeatures(Protocol):
    """A model's log-mel features."""

    @property
    def window_samples(self) -> int:
        """The longest passage that the model hears at once."""
        ...

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        """(mel bands, frames of 10 ms), not padded, at least one frame per 160 samples."""
        ...

    def padding(self, features: NDArray[np.float32]) -> float:
        """The value that frames behind the features get."""
        ...


@dataclass(frozen=True, slots=True)
class _Piece:
    """Samples of the recording from position `start` on."""

    start: int
    samples: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Window:
    """`features` is (mel bands, frames) of 10 ms, of which the first `content_frames` are sound; `padding` is
    what frames behind them would hold.

    `origins` tells where in the recording the window's pieces come from: seconds in the window and in
    the recording at which each begins.
    """

    features: NDArray[np.float32]
    content_frames: int
    padding: float = 0.0
    origins: tuple[tuple[float, float], ...] = ((0.0, 0.0),)

    def recorded_at(self, seconds: float) -> float:
        """A moment of the window as seconds from the recording's start."""
        at, origin = next(
            (pair for pair in reversed(self.origins) if pair[0] <= seconds), self.origins[0]
        )
        return origin + seconds - at


@dataclass(frozen=True, slots=True)
class Clip:
    """A decoded recording; no windows means that nobody speaks in it."""

    seconds: float
    windows: tuple[Window, ...]


class ClipPreparer:
    """`vad` needs faster-whisper, whose copy of Silero's model it runs."""

    def __init__(self, *, features: MelFeatures, max_seconds: float, vad: bool) -> None:
        self._features = features
        self._max_seconds = max_seconds
        self._vad = vad
        self._window_samples = features.window_samples

    def prepare(self, data: bytes) -> Clip:
        """Raises `MediaRejectedError` for what can't be decoded or is too long."""
        audio = decode_audio(data, max_seconds=self._max_seconds)
        windows = self._speech(audio) if self._vad else _alone(self._cut(_Piece(0, audio)))
        return Clip(
            seconds=round(audio.shape[0] / SAMPLE_RATE, 3),
            windows=tuple(self._window(pieces) for pieces in windows),
        )

    def _window(self, pieces: Sequence[_Piece]) -> Window:
        import numpy as np

        samples = np.concatenate([piece.samples for piece in pieces])
        origins: list[tuple[float, float]] = []
        at = 0
        for piece in pieces:
            origins.append((at / SAMPLE_RATE, piece.start / SAMPLE_RATE))
            at += piece.samples.shape[0]
        features = self._features(samples)
        # An extractor may pad the end by a frame, which is no content.
        return Window(
            features=features,
            content_frames=max(1, samples.shape[0] * 100 // SAMPLE_RATE),
            padding=self._features.padding(features),
            origins=tuple(origins),
        )

    def _speech(self, audio: NDArray[np.float32]) -> list[list[_Piece]]:
        chances = speech_chances(audio)

        def found(**limits: int) -> list[_Piece]:
            return [
                _Piece(start, audio[start:end])
                for start, end in find_speech(chances, samples=audio.shape[0], **limits)
            ]

        pieces = found()
        if not pieces:
            return []
        if sum(piece.samples.shape[0] for piece in pieces) <= self._window_samples:
            return [pieces]
        # Shorter silences count now: each is a place to cut without harm.
        return self._packed(
            found(min_silence=SHORT_SILENCE, max_speech=self._window_samples) or pieces
        )

    def _packed(self, pieces: Sequence[_Piece]) -> list[list[_Piece]]:
        """Neighbouring passages share a window as long as they fit."""
        windows: list[list[_Piece]] = []
        room = 0
        for piece in pieces:
            for part in self._cut(piece):
                if not windows or part.samples.shape[0] > room:
                    windows.append([])
                    room = self._window_samples
                windows[-1].append(part)
                room -= part.samples.shape[0]
        return windows

    def _cut(self, piece: _Piece) -> list[_Piece]:
        """Pieces of at most a window, cut at the quietest 20 ms of each window's last third."""
        import numpy as np

        pieces: list[_Piece] = []
        start, audio = piece.start, piece.samples
        while audio.shape[0] > self._window_samples:
            earliest = self._window_samples * 2 // 3
            last_third = audio[earliest : self._window_samples]
            steps = last_third.shape[0] // CUT_STEP
            loudness = (
                np.square(last_third[: steps * CUT_STEP]).reshape(steps, CUT_STEP).sum(axis=1)
            )
            cut = earliest + int(loudness.argmin()) * CUT_STEP + CUT_STEP // 2
            pieces.append(_Piece(start, audio[:cut]))
            start, audio = start + cut, audio[cut:]
        return [*pieces, _Piece(start, audio)]


def _alone(pieces: Sequence[_Piece]) -> list[list[_Piece]]:
    return [[piece] for piece in pieces]
