"""What the speech model hears, through faster-whisper, of what training never had."""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from demo.making.acoustics import COLOURS, Sound, at_level, no_speech, to_opus, with_noise
from demo.making.phrases import LANGUAGES, Language, Part
from demo.making.sentences import sentence
from demo.making.voices import SAMPLE_RATE, TRAINED_VARIANTS, UNSEEN_VARIANTS, any_voice, speak

_BIT_RATE = 16_000
_NOISE_DB = 20.0
_SHOWN = 8
_WORDS = re.compile(r"[\w'-]+")


def judge_speech(model: Path, *, cases: int, silent: int, seed: int) -> dict[str, Any]:
    """Word error rates by language, sentences, voices and disguise; texts invented where nobody speaks;
    seconds of work per second of sound."""
    from faster_whisper import WhisperModel

    whisper = WhisperModel(str(model), device="cpu", compute_type="int8")

    def hear(clip: bytes) -> tuple[str, float]:
        segments, info = whisper.transcribe(io.BytesIO(clip))
        return " ".join(segment.text.strip() for segment in segments), info.duration

    began = time.perf_counter()
    heard_s = 0.0
    figures: dict[str, Any] = {}
    kinds: tuple[tuple[Part, tuple[str, ...], bool], ...] = (
        ("trained", TRAINED_VARIANTS, False),
        ("trained", UNSEEN_VARIANTS, False),
        ("trained", UNSEEN_VARIANTS, True),
        ("unseen", UNSEEN_VARIANTS, False),
    )
    for language in LANGUAGES:
        for part, variants, noisy in kinds:
            voices = "seen voices" if variants is TRAINED_VARIANTS else "unseen voices"
            name = f"{language}, {part} sentences, {voices}{', noise' if noisy else ''}"
            random = Random(f"{seed} {name}")
            clips = [_clip(random, language, part, variants, noisy=noisy) for _ in range(cases)]
            figures[name], seconds = _word_errors(clips, hear)
            heard_s += seconds
    figures["real-time factor"] = round((time.perf_counter() - began) / heard_s, 3)
    figures["invented"] = _invented(Random(f"{seed} nobody"), silent, hear)
    return figures


def word_errors(said: str, heard: str) -> tuple[int, int]:
    """Words wrong, missing or too many (Levenshtein), and words said; case and punctuation don't count."""
    wanted, got = _WORDS.findall(said.lower()), _WORDS.findall(heard.lower())
    distances = list(range(len(got) + 1))
    for row, word in enumerate(wanted, 1):
        before, distances[0] = distances[0], row
        for column, other in enumerate(got, 1):
            before, distances[column] = (
                distances[column],
                min(distances[column] + 1, distances[column - 1] + 1, before + (word != other)),
            )
    return distances[-1], len(wanted)


def _clip(
    random: Random, language: Language, part: Part, variants: Sequence[str], *, noisy: bool
) -> tuple[str, bytes]:
    while True:
        text = sentence(random, language, part=part)
        spoken = speak(text, any_voice(random, language, variants, vary_speed=False))
        if 0.3 * SAMPLE_RATE < len(spoken) < 25 * SAMPLE_RATE:
            break
    sound = at_level(np.pad(spoken, (int(0.3 * SAMPLE_RATE), int(0.5 * SAMPLE_RATE))), -4)
    if noisy:
        sound = with_noise(random, sound, decibels=_NOISE_DB, colour=COLOURS[1])
    return text, to_opus(sound, bit_rate=_BIT_RATE)


def _word_errors(
    clips: Sequence[tuple[str, bytes]], hear: Callable[[bytes], tuple[str, float]]
) -> tuple[dict[str, Any], float]:
    wrong = words = exact = 0
    heard_s = 0.0
    shown: list[dict[str, str]] = []
    for said, clip in clips:
        text, seconds = hear(clip)
        errors, count = word_errors(said, text)
        wrong, words, exact, heard_s = (
            wrong + errors,
            words + count,
            exact + (not errors),
            heard_s + seconds,
        )
        if errors and len(shown) < _SHOWN:
            shown.append({"said": said, "heard": text[:200]})
    figures = {
        "word error rate %": round(100 * wrong / max(1, words), 1),
        "exact": exact,
        "cases": len(clips),
        "wrong": shown,
    }
    return figures, heard_s


def _invented(
    random: Random, clips: int, hear: Callable[[bytes], tuple[str, float]]
) -> dict[str, Any]:
    texts: list[str] = []
    for _ in range(clips):
        sound: Sound = no_speech(random, seconds=random.uniform(1, 8))
        text, _ = hear(to_opus(sound, bit_rate=_BIT_RATE))
        if text:
            texts.append(text[:100])
    return {"clips": clips, "texts": texts}
