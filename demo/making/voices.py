"""Synthetic voices: espeak-ng through its library, which `espeakng-loader` ships with its data."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt

from demo.making.phrases import Language

SAMPLE_RATE = 16_000
_ESPEAK_RATE = 22_050

BASES: dict[Language, tuple[str, ...]] = {
    "en": (
        "en-us",
        "en",
        "en-gb-scotland",
        "en-gb-x-rp",
        "en-gb-x-gbclan",
        "en-gb-x-gbcwmd",
        "en-029",
        "en-us-nyc",
    ),
    "pt": ("pt-br", "pt-br", "pt-br", "pt"),
}
"""European Portuguese lends a fourth of the accents."""
TRAINED_VARIANTS = tuple(
    "m1 m2 m3 m4 m5 m6 m8 f1 f2 f3 f5 adam Alex Alicia Andy Annie antonio aunty belinda benjamin boris caleb "
    "Denis Diogo ed edward edward2 Gene Gene2 grandma grandpa gustave Henrique iven iven2 iven3 Jacky john "
    "kaukovalta klatt klatt2 klatt4 Lee marcelo Marco mario Michael michel miguel mike2 norbert paul pedro "
    "quincy rob robert sandro shelby steph steph3 Storm travis Tweaky victor zac anika Nguyen".split()
)
UNSEEN_VARIANTS = tuple("f4 m7 Andrea david linda max klatt3 steph2 Hugo pablo".split())

_AUDIO_OUTPUT_SYNCHRONOUS = 2
_UTF8 = 1
_RATE, _PITCH, _WORD_GAP = 1, 3, 7
_OK = 0
_QUIET = 0.01


@dataclass(frozen=True, slots=True)
class Voice:
    """`pitch` is 0 to 99, `words_per_minute` about 80 to 300, `gap` units of 10 ms between words, `speed`
    stretches time and pitch together."""

    name: str
    pitch: int
    words_per_minute: int
    gap: int
    speed: float


def any_voice(
    random: Random, language: Language, variants: Sequence[str], *, vary_speed: bool = True
) -> Voice:
    return Voice(
        name=f"{random.choice(BASES[language])}+{random.choice(variants)}",
        pitch=random.randint(20, 85),
        words_per_minute=random.randint(125, 205),
        gap=random.choice((0, 0, 0, 1, 2, 4)),
        speed=random.uniform(0.88, 1.12) if vary_speed else 1.0,
    )


def speak(text: str, voice: Voice) -> npt.NDArray[np.float32]:
    """Samples at 16 kHz without the silence around them; empty if nothing was said."""
    samples = _espeak().speak(text, voice)
    sound = resample(samples, SAMPLE_RATE / _ESPEAK_RATE * voice.speed)
    loud = np.flatnonzero(np.abs(sound) > _QUIET * max(1e-6, float(np.abs(sound).max(initial=0))))
    return sound[loud[0] : loud[-1] + 1] if len(loud) else sound[:0]


def resample(samples: npt.NDArray[np.float32], ratio: float) -> npt.NDArray[np.float32]:
    """Band-limited, by cutting or padding the spectrum."""
    samples = np.pad(samples, (0, -len(samples) % 100))
    length = int(len(samples) * ratio)
    if not length:
        return samples[:0]
    spectrum = np.fft.rfft(samples)
    changed = np.zeros(length // 2 + 1, complex)
    kept = min(len(changed), len(spectrum))
    changed[:kept] = spectrum[:kept]
    return (np.fft.irfft(changed, length) * ratio).astype(np.float32)


class _Espeak:
    """The library keeps its voice and settings for the whole process."""

    def __init__(self) -> None:
        import espeakng_loader

        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        data = str(espeakng_loader.get_data_path()).encode()
        if self._library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, data, 0) != _ESPEAK_RATE:
            raise RuntimeError(f"espeak-ng doesn't start with the data at {data.decode()}")
        self._chunks: list[npt.NDArray[np.int16]] = []
        callback = ctypes.CFUNCTYPE(
            ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
        )
        # Kept: ctypes doesn't hold on to it.
        self._callback = callback(self._receive)
        self._library.espeak_SetSynthCallback(self._callback)

    def speak(self, text: str, voice: Voice) -> npt.NDArray[np.float32]:
        if self._library.espeak_SetVoiceByName(voice.name.encode()) != _OK:
            raise ValueError(f"espeak-ng knows no voice {voice.name}")
        for parameter, value in (
            (_RATE, voice.words_per_minute),
            (_PITCH, voice.pitch),
            (_WORD_GAP, voice.gap),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        encoded = text.encode() + b"\0"
        if self._library.espeak_Synth(encoded, len(encoded), 0, 1, 0, _UTF8, None, None) != _OK:
            raise RuntimeError("espeak-ng could not speak")
        self._library.espeak_Synchronize()
        if not self._chunks:
            return np.zeros(0, np.float32)
        return (np.concatenate(self._chunks) / 32_768).astype(np.float32)

    def _receive(self, samples: Any, count: int, _events: Any) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0


@cache
def _espeak() -> _Espeak:
    return _Espeak()
