"""What the engine asks of a decoder: windows in one batch or one after the other, padded to their bucket."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
import pytest

from models.inference import TranscriptionRequest
from serve_app.engines.audio import SAMPLE_RATE
from serve_app.engines.whisper_engine import BatchedWhisper, LoadedWhisper
from serve_app.engines.whisper_rows import Heard, SpeechRow, stacked
from serve_app.settings import SpeechSettings
from tests.unit.engines.recordings import encode, tone

WINDOW_S = 2


class Features:
    window_samples = WINDOW_S * SAMPLE_RATE

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        return np.ones((2, samples.shape[0] // 160), dtype=np.float32)

    def padding(self, features: np.ndarray) -> float:
        return -1.0


@dataclass
class Decoder:
    """Hears one word, its row's number in order of decoding, and Spanish where nothing is named."""

    batches: list[list[SpeechRow]] = field(default_factory=list)
    timestamp_begin = 1_000

    def language(self, wanted):
        return wanted

    def context(self, prompt, hot_words):
        return ()

    def batch_key(self, row):
        return row.frames

    def decode(self, rows):
        self.batches.append(list(rows))
        first = sum(len(batch) for batch in self.batches[:-1])
        return [
            Heard(
                tokens=(first + index,),
                average_logprob=-0.1,
                compression_ratio=1.0,
                no_speech_probability=0.0,
                language=row.language or "es",
            )
            for index, row in enumerate(rows)
        ]

    def retry(self, row, first):
        raise AssertionError

    def text(self, tokens):
        return " ".join(["", *map(str, tokens)])

    def words(self, row, heard, *, tokens, content_frames):
        raise AssertionError


@pytest.fixture
async def start():
    engines = []

    async def start(**settings):
        decoder = Decoder()
        engine = BatchedWhisper(
            name="test",
            settings=SpeechSettings(vad=False, **settings),
            device="cpu",
            load=lambda: LoadedWhisper(
                decoder=decoder, features=Features(), mel_bands=2, compute_type="none"
            ),
        )
        engines.append(engine)
        await engine.start()
        decoder.batches.clear()
        return engine, decoder

    yield start
    for engine in engines:
        await engine.stop()


def recording(seconds: float) -> bytes:
    return encode(tone(seconds), form="wav", codec="pcm_s16le")


async def hear(engine, seconds: float, name: str = "r", **options):
    return await engine.transcribe(
        TranscriptionRequest(request_id=name, audio=recording(seconds), **options)
    )


async def test_the_windows_of_a_known_language_share_a_batch(start):
    engine, decoder = await start(batch_wait_s=0.3)
    transcript = await hear(engine, 7.0, language="en")
    [batch] = decoder.batches
    assert len(batch) >= 4
    assert {row.language for row in batch} == {"en"}
    assert transcript.text == " ".join(str(number) for number in range(len(batch)))
    assert transcript.language == "en"


async def test_the_first_window_decides_on_the_language_of_the_others(start):
    engine, decoder = await start(batch_wait_s=0.3)
    transcript = await hear(engine, 7.0)
    first, others = decoder.batches
    assert [row.language for row in first] == [None]
    assert {row.language for row in others} == {"es"}
    assert transcript.language == "es"


async def test_a_short_recording_is_heard_before_the_rest_of_a_long_one(start):
    engine, decoder = await start(max_batch_size=1, batches_in_flight=1, batch_wait_s=0.0)
    order = []

    async def finish(name: str, seconds: float) -> None:
        await hear(engine, seconds, name, language="en")
        order.append(name)

    await asyncio.gather(finish("long", 60.0), finish("short", 1.0), finish("brief", 1.5))
    assert order[-1] == "long"
    assert len(decoder.batches) > 30


async def test_rows_are_padded_to_the_shortest_bucket_that_holds_them(start):
    engine, decoder = await start(short_windows_s=(1, 15))
    await asyncio.gather(hear(engine, 0.8, "a"), hear(engine, 1.4, "b"))
    batches = sorted(decoder.batches, key=lambda rows: rows[0].frames)
    assert [[row.frames for row in rows] for rows in batches] == [[100], [1500]]
    [short] = stacked(batches[0])
    assert short.shape == (2, 100)
    assert (short[:, :80] == 1).all()
    assert (short[:, 80:] == -1).all()


def test_stacked_rows_keep_their_own_padding():
    rows = [
        SpeechRow(
            features=np.full((2, width), 5, dtype=np.float32),
            frames=6,
            language=None,
            padding=padding,
        )
        for width, padding in ((4, -1.0), (6, 0.0), (1, -2.0))
    ]
    batch = stacked(rows)
    assert batch.dtype == np.float32
    assert batch[:, 0].tolist() == [
        [5, 5, 5, 5, -1, -1],
        [5, 5, 5, 5, 5, 5],
        [5, -2, -2, -2, -2, -2],
    ]
