"""Cutting clips into windows: nothing lost, nothing too long, cuts where it is quiet."""

import numpy as np
import pytest
from faster_whisper import vad

from serve_app.engines.audio import SAMPLE_RATE, decode_audio
from serve_app.engines.speech_windows import ClipPreparer
from serve_app.settings import PROJECT_ROOT
from tests.unit.engines.recordings import encode, tone

NOTES = PROJECT_ROOT / "demo" / "voice-notes"
WINDOW_S = 2


class Extractor:
    """Stands for faster-whisper's: keeps the samples as "features" of 10 ms frames."""

    window_samples = WINDOW_S * SAMPLE_RATE

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        frames = samples.shape[0] // 160
        return np.append(samples[: frames * 160].reshape(frames, 160).T, np.zeros((160, 1)), axis=1)

    def padding(self, features: np.ndarray) -> float:
        return -1.0


def prepare(samples: np.ndarray, *, vad: bool = False):
    preparer = ClipPreparer(features=Extractor(), max_seconds=60, vad=vad)
    return preparer.prepare(encode(samples, form="wav", codec="pcm_s16le"))


def test_a_short_clip_is_one_window():
    clip = prepare(tone(1.5))
    assert clip.seconds == 1.5
    [window] = clip.windows
    assert window.content_frames == 150
    assert window.features.shape == (160, 151)
    assert window.padding == -1


def test_a_long_clip_is_cut_into_windows_without_a_loss():
    clip = prepare(tone(7.3))
    assert all(window.content_frames <= WINDOW_S * 100 for window in clip.windows)
    frames = sum(window.content_frames for window in clip.windows)
    assert frames == pytest.approx(730, abs=len(clip.windows))


def test_the_cut_falls_into_a_pause():
    samples = tone(3.0)
    samples[int(1.6 * SAMPLE_RATE) : int(1.7 * SAMPLE_RATE)] = 0
    first, _ = prepare(samples).windows
    assert 160 <= first.content_frames <= 170


def test_the_network_hears_a_long_recording_once(monkeypatch):
    heard = []
    network = vad.get_vad_model()
    monkeypatch.setattr(
        vad, "get_vad_model", lambda: lambda audio: heard.append(audio.shape[0]) or network(audio)
    )
    speech = np.tile(decode_audio((NOTES / "parking.ogg").read_bytes(), max_seconds=9), 4)
    clip = prepare(speech, vad=True)
    assert len(clip.windows) > 1
    assert [samples // 512 for samples in heard] == [speech.shape[0] // 512 + 1]


def test_a_clip_without_speech_has_no_windows():
    assert prepare(np.zeros(3 * SAMPLE_RATE, dtype=np.float32), vad=True).windows == ()
    assert prepare(tone(1.0), vad=True).windows == ()
