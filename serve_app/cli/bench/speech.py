"""Many people's voice notes at once: our engine against faster-whisper a request at a time."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from models.errors import RecadoError
from models.inference import TranscriptionRequest
from serve_app.cli.bench.clips import Clip, mixed_clips, single_notes, word_error_rate
from serve_app.cli.bench.machine import describe_machine
from serve_app.cli.bench.plot import Point, load_panels, write_svg
from serve_app.cli.bench.rounds import load_average, ratios
from serve_app.engines.registry import create_speech_engine, resolve_model
from serve_app.ports import SpeechEngine
from serve_app.settings import SpeechSettings

PEERS = ("transcribe", "transcribe, a worker a core", "BatchedInferencePipeline")
TARGETS = {"transcribe": 1.5}
SHORT_TARGETS = {"transcribe": 3.0}
SHORT = "recado, short windows"
BEAM_SIZE = 5
SWEEP = (1, 2, 4, 8, 16, 32, 64)


class FasterWhisper:
    """As a service would use the library: one call a request, the library's defaults, voice detection on as
    with us. `workers` requests run at the same time, `threads` cores each."""

    def __init__(self, model: str, *, workers: int, threads: int, batched: bool) -> None:
        from faster_whisper import BatchedInferencePipeline, WhisperModel

        whisper = WhisperModel(
            model, device="cpu", compute_type="int8", cpu_threads=threads, num_workers=workers
        )
        self._model: Any = BatchedInferencePipeline(whisper) if batched else whisper
        self._pool = ThreadPoolExecutor(workers)

    async def transcribe(self, audio: bytes) -> str:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._one, audio)

    def close(self) -> None:
        self._pool.shutdown()

    def _one(self, audio: bytes) -> str:
        segments, _ = self._model.transcribe(
            io.BytesIO(audio), beam_size=BEAM_SIZE, vad_filter=True
        )
        return " ".join(segment.text.strip() for segment in segments)


class Ours:
    def __init__(self, engine: SpeechEngine) -> None:
        self._engine = engine
        self._number = 0

    async def transcribe(self, audio: bytes) -> str:
        self._number += 1
        request = TranscriptionRequest(request_id=str(self._number), audio=audio)
        return (await self._engine.transcribe(request)).text


Side = FasterWhisper | Ours


def run(
    *,
    clips: int,
    rounds: int,
    model: str,
    against: tuple[str, ...],
    short_windows: tuple[float, ...],
    plot: Path | None,
) -> dict[str, object]:
    """Clips per second with all of them waiting at once, and each side's word error rate. `short_windows`
    are seconds: with them our engine is a further side that takes the shortest that holds a clip."""
    unknown = set(against) - set(PEERS)
    if unknown:
        raise RecadoError(f"unknown peer {', '.join(unknown)}: there are {', '.join(PEERS)}")
    peers = against or PEERS
    return asyncio.run(_run(mixed_clips(clips), rounds, model, peers, short_windows, plot))


async def _run(
    clips: list[Clip],
    rounds: int,
    model: str,
    against: Sequence[str],
    short_windows: tuple[float, ...],
    plot: Path | None,
) -> dict[str, object]:
    settings = SpeechSettings(model=model, max_waiting=10_000, timeout_s=600)
    engine = create_speech_engine(settings, device="cpu")
    await engine.start()
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    sides: dict[str, Side] = {"recado": Ours(engine)}
    engines = [engine]
    if short_windows:
        short = settings.model_copy(update={"short_windows_s": short_windows})
        engines.append(create_speech_engine(short, device="cpu"))
        await engines[1].start()
        sides[SHORT] = Ours(engines[1])
    source = str(resolve_model(model, kind="speech"))
    for peer in against:
        apart = "worker" in peer
        sides[peer] = FasterWhisper(
            source,
            workers=cores if apart else 1,
            threads=1 if apart else cores,
            batched=peer == "BatchedInferencePipeline",
        )
    rates: dict[str, list[float]] = {side: [] for side in sides}
    errors: dict[str, float] = {}
    latency: dict[str, list[float]] = {side: [] for side in sides}
    try:
        notes = single_notes()
        of_notes = {
            name: round(word_error_rate(notes, (await _measure(side, notes, len(notes)))[2]), 2)
            for name, side in sides.items()
        }
        before = engine.stats()
        for _ in range(rounds):
            for name, side in sides.items():
                seconds, latencies, texts = await _measure(side, clips, len(clips))
                rates[name].append(len(clips) / seconds)
                latency[name].append(1000 * median(latencies))
                errors[name] = round(word_error_rate(clips, texts), 2)
        after = engine.stats()
        rows_a_batch = (after.rows - before.rows) / max(1, after.batches - before.batches)
        machine = {**_machine(), "load average": load_average()}
        if plot is not None:
            points = {name: await _sweep(side, clips) for name, side in sides.items()}
            panels = load_panels(points, what="clips")
            write_svg(plot, panels, note=", ".join(f"{k} {v}" for k, v in machine.items()))
    finally:
        for each in engines:
            await each.stop()
        for side in sides.values():
            if isinstance(side, FasterWhisper):
                side.close()
    return {
        "machine": machine,
        "clips": f"{len(clips)}, {sum(clip.seconds for clip in clips):.0f} s of sound",
        "model": model,
        "rounds": rounds,
        "clips_per_s": rates,
        "median_latency_ms": latency,
        "word_error_rate_percent": errors,
        "word_error_rate_percent (the demo's notes as recorded)": of_notes,
        "rows_a_batch": round(rows_a_batch, 2),
        "batch_fill_percent": round(100 * rows_a_batch / settings.max_batch_size, 1),
        "ratios": _ratios(rates),
    }


def _ratios(rates: Mapping[str, Sequence[float]]) -> dict[str, float]:
    peers = {side: values for side, values in rates.items() if side != SHORT}
    found = ratios(peers, TARGETS, of="clips/s")
    if SHORT in rates:
        found |= ratios(
            {**peers, "recado": rates[SHORT]}, SHORT_TARGETS, of="clips/s with short windows"
        )
    return found


async def _measure(
    side: Side, clips: Sequence[Clip], concurrency: int
) -> tuple[float, list[float], list[str]]:
    gate = asyncio.Semaphore(concurrency)
    latencies: list[float] = []

    async def one(clip: Clip) -> str:
        async with gate:
            began = time.perf_counter()
            text = await side.transcribe(clip.audio)
            latencies.append(time.perf_counter() - began)
            return text

    started = time.perf_counter()
    texts = await asyncio.gather(*(one(clip) for clip in clips))
    return time.perf_counter() - started, latencies, texts


async def _sweep(side: Side, clips: Sequence[Clip]) -> list[Point]:
    points: list[Point] = []
    for concurrency in SWEEP:
        if concurrency <= len(clips):
            seconds, latencies, _ = await _measure(side, clips, concurrency)
            points.append(Point(concurrency, len(clips) / seconds, 1000 * median(latencies)))
    return points


def _machine() -> dict[str, str]:
    return describe_machine("faster-whisper", "ctranslate2")
