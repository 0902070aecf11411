"""Recordings to samples: Ogg/Opus, MP3, M4A, WAV and whatever else FFmpeg reads, through PyAV."""

from __future__ import annotations

import importlib.util
import io
import wave
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models.errors import InferenceError, MediaRejectedError, RecordingTooLongError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""What Whisper hears, in samples a second."""
RESAMPLED_TOGETHER = SAMPLE_RATE


def decode_audio(data: bytes, *, max_seconds: float) -> NDArray[np.float32]:
    """Mono float32 samples at `SAMPLE_RATE`, between -1 and 1. Blocking.

    The length is counted while decoding, since a header may claim anything. Damaged packets are left
    out, and so is what follows a break in the container. Raises `MediaRejectedError` for what holds no
    decodable sound, `RecordingTooLongError` for what is longer than `max_seconds`.
    """
    if importlib.util.find_spec("av") is None:
        return _decode_wave(data, max_seconds=max_seconds)
    import av
    import numpy as np

    limit = int(max_seconds * SAMPLE_RATE)
    pieces: list[NDArray[np.int16]] = []
    samples = 0
    try:
        # The samples pass through 16 bits, as in faster-whisper's own decoder: the same features follow.
        with av.open(io.BytesIO(data), mode="r", metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise MediaRejectedError("the recording can't be decoded: it holds no sound")
            for piece in _resampled(container):
                samples += piece.shape[0]
                if samples > limit:
                    raise _too_long(max_seconds)
                pieces.append(piece)
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        # A cut-off file is worth what came before the cut.
        if not pieces:
            raise MediaRejectedError(f"the recording can't be decoded: {error}") from error
    if not samples:
        raise MediaRejectedError("the recording can't be decoded: it holds no sound")
    return np.concatenate(pieces).astype(np.float32) / 32768.0


def _decode_wave(data: bytes, *, max_seconds: float) -> NDArray[np.float32]:
    """Where PyAV is missing, as on a machine that only checks engines: 16-bit WAV at `SAMPLE_RATE`."""
    import numpy as np

    if data[:4] != b"RIFF":
        raise InferenceError("without PyAV only WAV files can be read: pip install av")
    try:
        with wave.open(io.BytesIO(data)) as file:
            if (file.getsampwidth(), file.getframerate()) != (2, SAMPLE_RATE):
                raise InferenceError(
                    f"without PyAV only 16-bit WAV at {SAMPLE_RATE} Hz can be read: pip install av"
                )
            if file.getnframes() > max_seconds * SAMPLE_RATE:
                raise _too_long(max_seconds)
            frames = np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
            return frames.reshape(-1, file.getnchannels())[:, 0].astype(np.float32) / 32768.0
    except (wave.Error, EOFError, ValueError) as error:
        raise MediaRejectedError(f"the recording can't be decoded: {error}") from error


def _too_long(max_seconds: float) -> RecordingTooLongError:
    return RecordingTooLongError(
        f"the recording is longer than {max_seconds:g} seconds", max_seconds=max_seconds
    )


def _resampled(container: Any) -> Iterator[NDArray[np.int16]]:
    """Frames last a few hundredths of a second: resampling a second of them at once costs half as much."""
    import av

    resampler = av.AudioResampler(format="s16", layout="mono", rate=SAMPLE_RATE)
    waiting = av.AudioFifo()
    broken: Exception | None = None
    try:
        for packet in container.demux(audio=0):
            _decode_into(waiting, packet)
            if waiting.samples >= RESAMPLED_TOGETHER:
                yield from _samples(resampler, waiting.read())
    except (av.error.FFmpegError, ValueError, EOFError) as error:
        broken = error
    if waiting.samples:
        yield from _samples(resampler, waiting.read())
    yield from _samples(resampler, None)
    if broken is not None:
        raise broken


def _decode_into(waiting: Any, packet: Any) -> None:
    import av

    try:
        frames = packet.decode()
    except av.error.InvalidDataError:
        return
    for frame in frames:
        frame.pts = None  # Time stamps of damaged files go back; the order of frames is enough.
        waiting.write(frame)


def _samples(resampler: Any, frame: Any) -> Iterator[NDArray[np.int16]]:
    for resampled in resampler.resample(frame):
        yield resampled.to_ndarray()[0]
