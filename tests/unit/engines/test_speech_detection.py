"""Passages with speech: as faster-whisper finds them, whatever the network thinks of the sound."""

import json

import numpy as np
import pytest
from faster_whisper import vad

from serve_app.engines.audio import SAMPLE_RATE, decode_audio
from serve_app.engines.speech_detection import MARGIN, STEP, find_speech, speech_chances
from serve_app.settings import PROJECT_ROOT

FOLDER = PROJECT_ROOT / "demo" / "voice-notes"
NOTES = json.loads((FOLDER / "voice-notes.json").read_text())
LIMITS = [(2000, float("inf")), (160, 10.0), (160, 2.0), (500, 1.2)]


def theirs(audio: np.ndarray, silence_ms: int, speech_s: float) -> list[tuple[int, int]]:
    options = vad.VadOptions(min_silence_duration_ms=silence_ms, max_speech_duration_s=speech_s)
    return [(part["start"], part["end"]) for part in vad.get_speech_timestamps(audio, options)]


def ours(chances: list[float], samples: int, silence_ms: int, speech_s: float):
    limits = {"min_silence": SAMPLE_RATE * silence_ms // 1000}
    if speech_s < float("inf"):
        limits["max_speech"] = int(SAMPLE_RATE * speech_s)
    return find_speech(chances, samples=samples, **limits)


@pytest.mark.parametrize("limits", LIMITS)
def test_recordings_are_cut_as_by_faster_whisper(limits):
    notes = [decode_audio((FOLDER / each["file"]).read_bytes(), max_seconds=60) for each in NOTES]
    gap = np.zeros(SAMPLE_RATE // 2, dtype=np.float32)
    together = np.concatenate([part for note in notes for part in (note, gap)])
    found = 0
    for audio in (*notes[:3], together):
        passages = ours(speech_chances(audio), audio.shape[0], *limits)
        assert passages == theirs(audio, *limits)
        found += len(passages)
    assert found > 3


@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("seed", range(25))
def test_any_chances_are_read_as_by_faster_whisper(monkeypatch, seed, limits):
    """Chances that stay for a while near or beyond the bounds, as a network's do."""
    random = np.random.default_rng(seed)
    levels = random.choice([0.0, 0.1, 0.34, 0.36, 0.45, 0.51, 0.9, 1.0], size=60)
    chances = np.repeat(levels, random.integers(1, 1 + 12 * (1 + seed % 4), size=60))
    samples = chances.shape[0] * STEP - int(random.integers(1, STEP))
    monkeypatch.setattr(vad, "get_vad_model", lambda: lambda audio: chances)
    expected = theirs(np.zeros(samples, dtype=np.float32), *limits)
    assert ours(chances.tolist(), samples, *limits) == expected


def test_speech_gets_a_margin_and_neighbours_share_what_is_between_them():
    chances = [0.0] * 40 + [0.9] * 20 + [0.0] * 10 + [0.9] * 20 + [0.0] * 40
    passages = find_speech(chances, samples=len(chances) * STEP, min_silence=STEP * 5)
    middle = 65 * STEP
    assert passages == [(40 * STEP - MARGIN, middle), (middle, 90 * STEP + MARGIN)]
