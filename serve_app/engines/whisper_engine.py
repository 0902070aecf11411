"""Speech through Whisper, batched across requests, whichever library computes it.

faster-whisper batches the chunks of one file; messaging is many short clips of different people at
once. Here a bounded pool decodes and makes features, one batcher collects windows of all requests, and
each batch is one `encode` and one `generate`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from models.errors import InferenceError
from models.inference import DETECT_LANGUAGE, EngineStats, Transcript, TranscriptionRequest, Word
from serve_app.engines.admission import Admission
from serve_app.engines.batcher import Batcher
from serve_app.engines.pools import Pool
from serve_app.engines.speech_windows import Clip, ClipPreparer, MelFeatures, Window
from serve_app.engines.whisper_rows import Heard, SpeechRow, WhisperDecoder, finished_segments
from serve_app.settings import SpeechSettings

log = structlog.get_logger(__name__)

FULL_WINDOW_FRAMES = 3_000
"""30 s, what a stock Whisper is trained for."""
FRAMES_PER_SECOND = 100
STOP_GRACE_S = 20.0


@dataclass(frozen=True, slots=True)
class LoadedWhisper:
    """A model in memory. `vad` tells whether passages without speech can be found here."""

    decoder: WhisperDecoder
    features: MelFeatures
    mel_bands: int
    compute_type: str
    vad: bool = True


@dataclass(frozen=True, slots=True)
class _Wishes:
    """What the request and, where it is silent, the settings ask for."""

    language: str | None
    context: tuple[int, ...]
    translate: bool
    words: bool


class BatchedWhisper:
    """`load` runs in the engine's own thread; it raises `InferenceError` with what to do."""

    def __init__(
        self,
        *,
        name: str,
        settings: SpeechSettings,
        device: str,
        load: Callable[[], LoadedWhisper],
        warm_up_sizes: Sequence[int] = (1,),
    ) -> None:
        self._name = name
        self._settings = settings
        self._device = device
        self._load = load
        self._warm_up_sizes = warm_up_sizes
        self._listening = Pool(name="speech-decode", threads=settings.decode_threads)
        self._inference = Pool(name="speech-infer", threads=settings.batches_in_flight)
        self._batcher = Batcher(
            run=self._run_batch,
            max_batch_size=settings.max_batch_size,
            wait_s=settings.batch_wait_s,
            in_flight=settings.batches_in_flight,
        )
        self._admission = Admission(
            engine="the speech engine",
            limit=settings.max_waiting + settings.max_batch_size * settings.batches_in_flight,
            timeout_s=settings.timeout_s,
        )
        self._buckets = sorted(
            {
                FULL_WINDOW_FRAMES,
                *(int(seconds * FRAMES_PER_SECOND) for seconds in settings.short_windows_s),
            }
        )
        self._audio_seconds = 0.0
        self._preparer: ClipPreparer | None = None
        self._whisper: LoadedWhisper | None = None
        self._window_frames = FULL_WINDOW_FRAMES

    async def start(self) -> None:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        started = time.perf_counter()
        whisper = await self._inference.run(self._load)
        self._whisper = whisper
        samples = whisper.features.window_samples
        self._window_frames = min(samples * FRAMES_PER_SECOND // 16_000, FULL_WINDOW_FRAMES)
        if self._settings.vad and not whisper.vad:
            log.warning("speech_vad_missing", do="pip install faster-whisper")
        self._preparer = ClipPreparer(
            features=whisper.features,
            max_seconds=self._settings.max_audio_seconds,
            vad=self._settings.vad and whisper.vad,
        )
        await self._inference.run(self._warm_up, whisper)
        self._admission.open()
        log.info(
            "speech_engine_started",
            engine=self._name,
            model=str(self._settings.model),
            device=self._device,
            compute_type=whisper.compute_type,
            seconds=round(time.perf_counter() - started, 2),
        )

    async def stop(self) -> None:
        self._admission.close()
        await self._batcher.stop(grace_s=STOP_GRACE_S)
        await self._admission.drain(grace_s=STOP_GRACE_S)
        self._listening.close()
        self._inference.close()

    async def cancel(self, request_id: str) -> None:
        self._admission.cancel(request_id)

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        return await self._admission.run(request.request_id, lambda: self._transcribe(request))

    def stats(self) -> EngineStats:
        return EngineStats(
            engine=self._name,
            model=self._settings.model,
            device=self._device,
            requests=self._admission.requests,
            batches=self._batcher.batches,
            rows=self._batcher.rows,
            failures=self._admission.failures,
            waiting=self._batcher.waiting,
            running=self._batcher.running,
            busy_seconds=self._batcher.busy_seconds,
            work_done=self._audio_seconds,
        )

    async def _transcribe(self, request: TranscriptionRequest) -> Transcript:
        if self._preparer is None:
            raise InferenceError("the speech engine was not started")
        started = time.perf_counter()
        clip = await self._listening.run(self._preparer.prepare, request.audio)
        wishes = self._wishes(request)
        passages = await self._passages(clip, wishes)
        self._audio_seconds += clip.seconds
        first = passages[0] if passages else None
        return Transcript(
            text="".join(passage.text for passage in passages).strip(),
            language=first.language if first else wishes.language,
            language_probability=first.language_probability if first else None,
            words=tuple(word for passage in passages for word in passage.words),
            audio_seconds=clip.seconds,
            processing_seconds=time.perf_counter() - started,
            batch_size=max((passage.batch_size for passage in passages), default=1),
        )

    def _wishes(self, request: TranscriptionRequest) -> _Wishes:
        decoder, settings = self._started().decoder, self._settings
        translate, words = request.translate, request.word_timestamps
        language = request.language or settings.language
        return _Wishes(
            language=decoder.language(None if language == DETECT_LANGUAGE else language),
            context=decoder.context(
                request.prompt or settings.prompt, request.hot_words or settings.hot_words
            ),
            translate=settings.translate if translate is None else translate,
            words=settings.word_timestamps if words is None else words,
        )

    async def _passages(self, clip: Clip, wishes: _Wishes) -> list[_Passage]:
        """Where no language is named, the others wait for the first window, which decides on it."""
        heard: list[_Passage] = []
        language = wishes.language
        if clip.windows and language is None:
            heard.append(await self._hear(clip.windows[0], wishes, None))
            language = heard[0].language
        others = [
            asyncio.create_task(self._hear(window, wishes, language, behind=behind))
            for behind, window in enumerate(clip.windows[len(heard) :])
        ]
        try:
            return [*heard, *await asyncio.gather(*others)]
        finally:
            for other in others:
                other.cancel()

    async def _hear(
        self, window: Window, wishes: _Wishes, language: str | None, *, behind: int = 0
    ) -> _Passage:
        """One window, mostly in one go; what the model left unfinished is heard again."""
        decoder = self._started().decoder
        passage = _Passage(language=language)
        position = 0
        while position < window.content_frames:
            frames = min(self._window_frames, window.content_frames - position)
            row = SpeechRow(
                features=window.features[:, position : position + frames],
                frames=self._bucket(frames),
                padding=window.padding,
                language=passage.language,
                context=wishes.context,
                translate=wishes.translate,
            )
            batched = await self._batcher.submit(row, key=decoder.batch_key(row), behind=behind)
            heard = batched.value
            if heard.suspect:
                heard = await self._inference.run(decoder.retry, row, heard)
            passage.note(heard, batched.batch_size)
            understood = frames
            # What repeats itself after every retry is the model's invention.
            if not heard.silent and not heard.repetitive:
                segments, understood = finished_segments(
                    heard.tokens,
                    timestamp_begin=decoder.timestamp_begin,
                    content_frames=frames,
                )
                texts = [decoder.text(segment) for segment in segments]
                passage.text += "".join(text for text in texts if text.strip())
                if wishes.words and passage.text:
                    finished = [token for segment in segments for token in segment]
                    passage.words += await self._timed(row, heard, finished, window, position)
            # A last time stamp at zero would repeat the same window for ever.
            position += understood if understood > 0 else frames
        return passage

    async def _timed(
        self, row: SpeechRow, heard: Heard, tokens: list[int], window: Window, position: int
    ) -> list[Word]:
        def timed() -> list[Word]:
            decoder, offset = self._started().decoder, position / FRAMES_PER_SECOND
            frames = min(self._window_frames, window.content_frames - position)
            found = decoder.words(row, heard, tokens=tokens, content_frames=frames)
            return [
                Word(
                    text=word.text.strip(),
                    start=round(window.recorded_at(offset + word.start), 2),
                    end=round(window.recorded_at(offset + word.end), 2),
                    probability=round(word.probability, 4),
                )
                for word in found
                if word.text.strip()
            ]

        return await self._inference.run(timed)

    def _bucket(self, frames: int) -> int:
        return next(bucket for bucket in self._buckets if bucket >= frames)

    async def _run_batch(self, rows: Sequence[SpeechRow]) -> list[Heard]:
        return await self._inference.run(self._started().decoder.decode, rows)

    def _started(self) -> LoadedWhisper:
        if self._whisper is None:
            raise InferenceError("the speech engine was not started")
        return self._whisper

    def _warm_up(self, whisper: LoadedWhisper) -> None:
        """Every bucket: the first run of a shape allocates and, on a GPU, loads."""
        import numpy as np

        language = whisper.decoder.language("en")
        for bucket in self._buckets:
            silence = np.zeros((whisper.mel_bands, bucket), dtype=np.float32)
            for size in self._warm_up_sizes:
                row = SpeechRow(features=silence, frames=bucket, language=language)
                whisper.decoder.decode([row] * size)


@dataclass(slots=True)
class _Passage:
    """What a window's passes have given so far."""

    language: str | None
    text: str = ""
    words: list[Word] = field(default_factory=list[Word])
    language_probability: float | None = None
    batch_size: int = 1

    def note(self, heard: Heard, batch_size: int) -> None:
        self.language = heard.language
        if heard.language_probability is not None:
            self.language_probability = heard.language_probability
        self.batch_size = max(self.batch_size, batch_size)
