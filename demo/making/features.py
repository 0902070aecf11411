"""Log-mel features exactly as faster-whisper makes them, with numpy alone."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from demo.making.voices import SAMPLE_RATE

MELS = 80
FRAMES_PER_SECOND = 100
_FFT, _HOP = 400, 160


def log_mel(sound: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(80, frames) of 10 ms, of sound of at least 20 ms; what is over is dropped."""
    padded = np.pad(np.pad(sound, (0, _HOP)), _FFT // 2, mode="reflect")
    frames = len(sound) // _HOP
    windows = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::_HOP][:frames]
    window = np.hanning(_FFT + 1)[:-1]
    power = np.abs(np.fft.rfft(windows * window, axis=1)) ** 2
    mel = power @ _filters()
    logarithm = np.log10(np.maximum(mel, 1e-10))
    logarithm = np.maximum(logarithm, logarithm.max() - 8.0)
    return ((logarithm + 4.0) / 4.0).T.astype(np.float32)


@cache
def _filters() -> npt.NDArray[np.float64]:
    from transformers.audio_utils import mel_filter_bank

    return mel_filter_bank(
        num_frequency_bins=1 + _FFT // 2,
        num_mel_filters=MELS,
        min_frequency=0.0,
        max_frequency=SAMPLE_RATE / 2,
        sampling_rate=SAMPLE_RATE,
        norm="slaney",
        mel_scale="slaney",
    )
