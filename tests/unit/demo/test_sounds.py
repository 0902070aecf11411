"""Voices, rooms and features of the demo speech model's making."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from demo.making import voices
from demo.making.acoustics import at_level, disguised, no_speech, through_opus, with_noise
from demo.making.features import log_mel
from demo.making.phrases import LANGUAGES, Language
from demo.making.sentences import sentence
from demo.making.speech_evaluation import word_errors
from demo.making.speech_tokens import SpeechTokens, train_tokenizer
from demo.making.voices import SAMPLE_RATE, TRAINED_VARIANTS, UNSEEN_VARIANTS, Voice, speak


def test_features_are_those_of_faster_whisper() -> None:
    sound = np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE + 77).astype(np.float32) * 0.1
    theirs = FeatureExtractor()(sound)[:, :-1]
    ours = log_mel(sound)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_accent_and_variant_speaks(language: Language) -> None:
    names = [f"{base}+m1" for base in voices.BASES[language]]
    names += [f"{voices.BASES[language][0]}+{v}" for v in (*TRAINED_VARIANTS, *UNSEEN_VARIANTS)]
    for name in names:
        sound = speak("one two", Voice(name, 50, 170, 0, 1.0))
        assert 0.2 < len(sound) / SAMPLE_RATE < 3, name
        assert np.abs(sound).max() > 0.02, name


def test_voices_to_measure_with_are_never_trained() -> None:
    assert not set(TRAINED_VARIANTS) & set(UNSEEN_VARIANTS)


def test_an_unknown_voice_is_named() -> None:
    with pytest.raises(ValueError, match="nobody"):
        speak("hello", Voice("nobody", 50, 170, 0, 1.0))


def test_speaking_faster_is_shorter() -> None:
    slow, fast = (
        speak("hello there my friend", Voice("en-us+m1", 50, wpm, 0, 1.0)) for wpm in (120, 240)
    )
    assert len(fast) < 0.75 * len(slow)


def test_a_disguise_keeps_the_speech_where_it_says() -> None:
    random = Random(2)
    spoken = np.ones(SAMPLE_RATE, np.float32)
    for _ in range(20):
        sound, begins, ends = disguised(random, spoken, opus=False)
        assert ends - begins == pytest.approx(1.0)
        assert 0 <= begins < ends <= len(sound) / SAMPLE_RATE + 1e-6


def test_noise_is_as_far_below_as_asked() -> None:
    tone = np.sin(np.arange(SAMPLE_RATE) / 10).astype(np.float32)
    noisy = with_noise(Random(1), tone, decibels=20, colour="white")
    ratio = (tone**2).mean() / ((noisy - tone) ** 2).mean()
    assert 10 * np.log10(ratio) == pytest.approx(20, abs=0.5)


def test_opus_returns_what_it_was_given_nearly() -> None:
    tone = at_level(
        np.sin(np.arange(SAMPLE_RATE) * 2 * np.pi * 440 / SAMPLE_RATE).astype(np.float32), -6
    )
    back = through_opus(tone, bit_rate=24_000)
    assert len(back) == pytest.approx(len(tone), abs=1_600)
    spectrum = np.abs(np.fft.rfft(back))
    assert spectrum.argmax() * SAMPLE_RATE / len(back) == pytest.approx(440, abs=5)


def test_sounds_without_speech_are_all_kinds_and_never_clip() -> None:
    random = Random(4)
    sounds = [no_speech(random, seconds=1.0) for _ in range(40)]
    assert any(not sound.any() for sound in sounds)
    assert all(len(sound) == SAMPLE_RATE and np.abs(sound).max() <= 1.5 for sound in sounds)


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("At half past eight.", "at half past eight", 0),
        ("A table for two", "a table for you", 1),
        ("one two three", "", 3),
        ("one", "one two three", 2),
        ("Olá, amanhã!", "olá amanhã", 0),
    ],
)
def test_word_errors(said: str, heard: str, errors: int) -> None:
    assert word_errors(said, heard)[0] == errors


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> SpeechTokens:
    file = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    file.write_text(
        train_tokenizer(merges=20, longest_s=30.0, seed=1, sentences=400), encoding="utf-8"
    )
    return SpeechTokens.load(file)


def test_tokens_say_what_was_said(tokens: SpeechTokens) -> None:
    random = Random(8)
    for index in range(200):
        text = sentence(random, LANGUAGES[index % 2])
        assert tokens.decode(tokens.encode(text)) == text


def test_timestamps_count_in_fiftieths_of_a_second(tokens: SpeechTokens) -> None:
    assert tokens.timestamp(0.0) == tokens.first_timestamp
    assert tokens.timestamp(1.0) - tokens.first_timestamp == 50
    assert tokens.timestamp(99.0) == tokens.size - 1
