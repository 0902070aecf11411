"""The demo speech model on either library: the same words, silence, fairness to short notes, timed words."""

import asyncio
import json

import numpy as np
import pytest

from models.errors import RecordingTooLongError
from models.inference import TranscriptionRequest
from serve_app.engines.audio import SAMPLE_RATE, decode_audio
from serve_app.engines.registry import create_speech_engine
from serve_app.settings import PROJECT_ROOT, SpeechSettings
from tests.unit.engines.recordings import encode

FOLDER = PROJECT_ROOT / "demo" / "voice-notes"
NOTES = json.loads((FOLDER / "voice-notes.json").read_text())
HEARD = {each["file"].removesuffix(".ogg"): each["heard"] for each in NOTES}


def note(name: str) -> bytes:
    return (FOLDER / f"{name}.ogg").read_bytes()


def samples(name: str) -> np.ndarray:
    return decode_audio(note(name), max_seconds=60)


def wav(audio: np.ndarray) -> bytes:
    return encode(audio, form="wav", codec="pcm_s16le")


@pytest.fixture(params=["transformers", "faster-whisper"])
async def start(request):
    engines = []

    async def start(**settings):
        settings = {"short_windows_s": (15,), **settings}
        engine = create_speech_engine(
            SpeechSettings(engine=request.param, **settings), device="cpu"
        )
        engines.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in engines:
        await engine.stop()


async def hear(engine, audio: bytes, **options):
    return await engine.transcribe(
        TranscriptionRequest(request_id=options.pop("request_id", "r"), audio=audio, **options)
    )


@pytest.mark.parametrize("start", ["transformers"], indirect=True)
async def test_every_note_is_heard_exactly_batched_and_alone(start):
    engine = await start(max_batch_size=8, short_windows_s=())
    together = await asyncio.gather(*(hear(engine, note(name)) for name in HEARD))
    assert [transcript.text for transcript in together] == list(HEARD.values())
    for name in ("thanks", "parking", "table-six-at-seven", "silence"):
        assert (await hear(engine, note(name))).text == HEARD[name]
    assert max(transcript.batch_size for transcript in together) > 1


async def test_noise_and_silence_give_an_empty_transcript(start):
    engine = await start()
    noise = np.random.default_rng(1).normal(0, 0.02, 3 * SAMPLE_RATE).astype(np.float32)
    for audio in (wav(noise), wav(np.zeros(SAMPLE_RATE, dtype=np.float32)), note("silence")):
        assert (await hear(engine, audio)).text == ""


async def test_a_short_note_overtakes_the_windows_of_a_long_one(start):
    engine = await start(vad=False, max_batch_size=1, batches_in_flight=1, batch_wait_s=0)
    # The demo model hears 10 s at once: eight windows.
    long = wav(np.concatenate([np.pad(samples("thanks"), (0, 6 * SAMPLE_RATE))] * 10))
    order = []

    async def finish(name: str, audio: bytes) -> None:
        await hear(engine, audio, request_id=name)
        order.append(name)

    first = asyncio.create_task(finish("long", long))
    while engine.stats().rows < 2:  # noqa: ASYNC110 - the engine has no event for it
        await asyncio.sleep(0.01)
    await asyncio.gather(*(finish(name, note(name)) for name in ("where", "thanks")))
    assert engine.stats().waiting > 0
    await first
    assert order[-1] == "long"


async def test_a_recording_over_the_limit_is_too_long(start):
    engine = await start(max_audio_seconds=2.0)
    with pytest.raises(RecordingTooLongError, match="longer than 2 seconds") as error:
        await hear(engine, note("table-two-saturday-half-past-eight"))
    assert error.value.max_seconds == 2


async def test_words_have_the_times_at_which_they_are_said(start):
    engine = await start()
    plain = await hear(engine, note("hours-saturday"))
    assert plain.words == ()
    timed = await hear(engine, note("hours-saturday"), word_timestamps=True)
    assert timed.text == plain.text
    assert "".join(word.text for word in timed.words) == timed.text.replace(" ", "")
    times = [time for word in timed.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert 0 <= times[0] < times[-1] <= timed.audio_seconds
    assert all(0 < word.probability <= 1 for word in timed.words)
    # Silence that voice detection takes out counts all the same.
    later = np.pad(samples("hours-saturday"), (4 * SAMPLE_RATE, SAMPLE_RATE))
    shifted = await hear(engine, wav(later), word_timestamps=True)
    assert [word.text for word in shifted.words] == [word.text for word in timed.words]
    assert shifted.words[0].start == pytest.approx(timed.words[0].start + 4, abs=0.6)
    assert shifted.words[-1].end == pytest.approx(timed.words[-1].end + 4, abs=0.6)


async def test_hot_words_and_prompts_share_batches_with_plain_rows(start):
    engine = await start(max_batch_size=4, batch_wait_s=0.2)
    plain, prompted, hot = await asyncio.gather(
        hear(engine, note("where")),
        hear(engine, note("thanks"), prompt="Thank you for calling."),
        hear(engine, note("parking"), hot_words=("parking", "scone")),
    )
    assert plain.text == HEARD["where"]
    # The demo model was trained without a context: what it makes of one doesn't matter here.
    assert prompted.audio_seconds > 0
    assert hot.audio_seconds > 0
    assert engine.stats().failures == 0
