"""The demo speech model: the same results as faster-whisper's own, batched, alone, and in windows."""

import asyncio
import json

import numpy as np
import pytest
from faster_whisper import WhisperModel

from models.errors import MediaRejectedError
from models.inference import TranscriptionRequest
from serve_app.engines.audio import decode_audio
from serve_app.engines.registry import create_speech_engine
from serve_app.settings import PROJECT_ROOT, SpeechSettings
from tests.unit.engines.recordings import encode

FOLDER = PROJECT_ROOT / "demo" / "voice-notes"
NOTES = json.loads((FOLDER / "voice-notes.json").read_text())
HEARD = [note["heard"] for note in NOTES]


def note(name: str) -> bytes:
    return (FOLDER / name).read_bytes()


def samples(name: str) -> np.ndarray:
    return decode_audio(note(f"{name}.ogg"), max_seconds=60)


def wav(audio: np.ndarray) -> bytes:
    return encode(audio, form="wav", codec="pcm_s16le")


@pytest.fixture
async def start():
    engines = []

    async def start(**settings):
        engine = create_speech_engine(SpeechSettings(**settings), device="cpu")
        engines.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in engines:
        await engine.stop()


async def hear(engine, audio: bytes, request_id: str = "r", language: str | None = None):
    return await engine.transcribe(
        TranscriptionRequest(request_id=request_id, audio=audio, language=language)
    )


async def test_every_note_is_heard_exactly_batched_and_alone(start):
    engine = await start()
    audio = [note(each["file"]) for each in NOTES]
    alone = [await hear(engine, data) for data in audio]
    assert [transcript.text for transcript in alone] == HEARD
    together = await asyncio.gather(*(hear(engine, data) for data in audio))
    assert [transcript.text for transcript in together] == HEARD
    assert max(transcript.batch_size for transcript in together) > 1
    for transcript, each in zip(alone, NOTES, strict=True):
        assert transcript.audio_seconds == pytest.approx(each["seconds"], abs=0.1)
        assert transcript.language == "en"
        assert transcript.language_probability is None
        assert transcript.processing_seconds > 0


async def test_short_windows_change_nothing_for_a_model_that_allows_them(start):
    engine = await start(short_windows_s=(15,), max_batch_size=8)
    together = await asyncio.gather(*(hear(engine, note(each["file"])) for each in NOTES))
    assert [transcript.text for transcript in together] == HEARD


@pytest.mark.parametrize("vad", [True, False])
async def test_noisy_and_joined_clips_come_out_as_whisper_models(start, vad):
    noise = np.random.default_rng(7).normal(0, 0.01, 60 * 16_000).astype(np.float32)
    pause = np.zeros(16_000, dtype=np.float32)
    joined = np.concatenate([samples("where"), pause, samples("thanks"), pause, samples("parking")])
    clips = [
        samples("hours-saturday") + noise[: samples("hours-saturday").shape[0]],
        samples("pay-by-card") * 0.1,
        joined,
    ]
    model = WhisperModel(
        str(PROJECT_ROOT / "demo" / "models" / "speech"), compute_type="int8", cpu_threads=2
    )
    expected = []
    for clip in clips:
        pcm = decode_audio(wav(clip), max_seconds=60)
        segments, _ = model.transcribe(
            pcm, vad_filter=vad, condition_on_previous_text=False, temperature=0.0
        )
        expected.append("".join(segment.text for segment in segments).strip())
    engine = await start(vad=vad)
    heard = await asyncio.gather(*(hear(engine, wav(clip)) for clip in clips))
    assert [transcript.text for transcript in heard] == expected
    assert all(expected)


async def test_a_long_clip_is_joined_in_order(start):
    names = ["where", "hours-saturday", "thanks", "parking", "price-cake", "table-four-friday"]
    names += ["pay-by-card", "open-sunday", "real-person", "phone-number"]
    # The demo model hears one sentence a window: each is followed by silence up to where windows are cut,
    # just after two thirds of its 10 s.
    period = 106_826
    audio = np.concatenate(
        [np.pad(clip, (0, period - clip.shape[0])) for clip in map(samples, names)]
    )
    engine = await start(short_windows_s=(15,), vad=False)
    transcript = await hear(engine, wav(audio))
    heard = {each["file"].removesuffix(".ogg"): each["heard"] for each in NOTES}
    assert transcript.text == " ".join(heard[name] for name in names)
    assert transcript.audio_seconds == pytest.approx(audio.shape[0] / 16_000, abs=0.01)


async def test_noise_and_silence_give_an_empty_transcript(start):
    engine = await start()
    noise = np.random.default_rng(1).normal(0, 0.02, 3 * 16_000).astype(np.float32)
    for audio in (wav(noise), wav(np.zeros(16_000, dtype=np.float32)), note("silence.ogg")):
        assert (await hear(engine, audio)).text == ""


async def test_a_bad_recording_fails_alone(start):
    engine = await start(short_windows_s=(15,), max_audio_seconds=4.0)
    good, bad, long = await asyncio.gather(
        hear(engine, note("where.ogg")),
        hear(engine, b"not a recording"),
        hear(engine, note("table-two-saturday-half-past-eight.ogg")),
        return_exceptions=True,
    )
    assert good.text == "Where are you located?"
    assert isinstance(bad, MediaRejectedError)
    assert "decoded" in str(bad)
    assert isinstance(long, MediaRejectedError)
    assert "longer than 4 seconds" in str(long)
    assert engine.stats().failures == 2


async def test_an_english_model_hears_english_whatever_is_asked(start):
    engine = await start(short_windows_s=(15,))
    transcript = await hear(engine, note("thanks.ogg"), language="es-MX")
    assert (transcript.text, transcript.language) == ("Thank you very much.", "en")


async def test_what_the_model_cannot_make_out_is_tried_again_and_ends(start):
    engine = await start(short_windows_s=(15,), vad=False)
    babble = np.random.default_rng(3).normal(0, 0.3, 5 * 16_000).astype(np.float32)
    spoken, clear = await asyncio.gather(hear(engine, wav(babble)), hear(engine, note("where.ogg")))
    assert spoken.audio_seconds == 5
    assert clear.text == "Where are you located?"
