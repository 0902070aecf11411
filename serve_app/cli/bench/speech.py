"""Many people's voice notes at once: our engine against faster-whisper a request at a time."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from models.errors import RecadoError
from models.inference import TranscriptionRequest
from serve_app.cli.bench.clips import Clip, mixed_clips, recorded_notes, word_error_rate
from serve_app.cli.bench.machine import describe_machine
from serve_app.cli.bench.plot import Point, load_panels, write_svg
from serve_app.cli.bench.rounds import load_average, ratios
from serve_app.engines.pools import usable_cores
from serve_app.engines.registry import create_speech_engine, resolve_model
from serve_app.ports import SpeechEngine
from serve_app.settings import SpeechSettings

PEERS = ("transcribe", "transcribe, a worker a core", "BatchedInferencePipeline")
TARGETS = {"transcribe": 1.5}
SHORT_TARGETS = {"transcribe": 3.0}
SHORT = "recado, short windows"
DEMO_SHORT_WINDOWS_S = (15.0,)
"""The demo model hears 10 s at once, and as well with half of the silence behind them."""
MIXED, NOTES = "clips", "notes"
BEAM_SIZE = 5
SWEEP = (1, 2, 4, 8, 16, 32, 64)


class FasterWhisper:
    """As a service would use the library: one call a request, the library's defaults but for two, which are
    as with us: voice detection is on, and a window isn't told what the one before said. `workers` requests
    run at the same time, `threads` cores each."""

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
            io.BytesIO(audio),
            beam_size=BEAM_SIZE,
            vad_filter=True,
            condition_on_previous_text=False,
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


@dataclass(slots=True)
class Measured:
    """What one side did of one load, a value a round."""

    per_s: list[float] = field(default_factory=list[float])
    per_cpu_s: list[float] = field(default_factory=list[float])
    latency_ms: list[float] = field(default_factory=list[float])
    texts: list[str] = field(default_factory=list[str])


Figures = dict[str, dict[str, Measured]]
"""By load and side."""


def run(
    *,
    clips: int,
    rounds: int,
    model: str,
    engine: str,
    against: tuple[str, ...],
    short_windows: tuple[float, ...],
    plot: Path | None,
) -> dict[str, object]:
    """Two loads, all recordings of each waiting at once: `clips` of mixed lengths, and as many recorded
    notes, which the demo model hears without an error. `short_windows` are seconds: with them our engine is
    a further side that takes the shortest that holds a clip."""
    unknown = set(against) - set(PEERS)
    if unknown:
        raise RecadoError(f"unknown peer {', '.join(unknown)}: there are {', '.join(PEERS)}")
    peers = against or PEERS
    if model == "demo" and not short_windows:
        short_windows = DEMO_SHORT_WINDOWS_S
    settings = SpeechSettings.model_validate(
        {"model": model, "engine": engine, "max_waiting": 10_000, "timeout_s": 600}
    )
    loads = {MIXED: mixed_clips(clips), NOTES: recorded_notes(clips)}
    return asyncio.run(_run(loads, rounds, settings, peers, short_windows, plot))


async def _run(
    loads: Mapping[str, list[Clip]],
    rounds: int,
    settings: SpeechSettings,
    against: Sequence[str],
    short_windows: tuple[float, ...],
    plot: Path | None,
) -> dict[str, object]:
    engine = create_speech_engine(settings, device="cpu")
    engines = [engine]
    cores = usable_cores()
    sides: dict[str, Side] = {"recado": Ours(engine)}
    if short_windows:
        short = settings.model_copy(update={"short_windows_s": short_windows})
        engines.append(create_speech_engine(short, device="cpu"))
        sides[SHORT] = Ours(engines[1])
    source = str(resolve_model(settings.model, kind="speech"))
    for peer in against:
        apart = "worker" in peer
        sides[peer] = FasterWhisper(
            source,
            workers=cores if apart else 1,
            threads=1 if apart else cores,
            batched=peer == "BatchedInferencePipeline",
        )
    figures: Figures = {load: {side: Measured() for side in sides} for load in loads}
    try:
        for each in engines:
            await each.start()
        for side in sides.values():
            await _measure(side, loads[NOTES][:2], 2)
        before = engine.stats()
        for _ in range(rounds):
            for load, recordings in loads.items():
                for name, side in sides.items():
                    await _round(side, recordings, figures[load][name])
        after = engine.stats()
        rows_a_batch = (after.rows - before.rows) / max(1, after.batches - before.batches)
        machine = {**_machine(), "load average": load_average()}
        if plot is not None:
            points = {name: await _sweep(side, loads[MIXED]) for name, side in sides.items()}
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
        **{
            load: f"{len(recordings)}, {sum(clip.seconds for clip in recordings):.0f} s of sound"
            for load, recordings in loads.items()
        },
        "model": settings.model,
        "engine": after.engine,
        "rounds": rounds,
        **{
            f"{load}_per_s": {name: measured.per_s for name, measured in of.items()}
            for load, of in figures.items()
        },
        **{
            f"{load}_per_cpu_second": {name: measured.per_cpu_s for name, measured in of.items()}
            for load, of in figures.items()
        },
        "median_latency_ms": {
            name: measured.latency_ms for name, measured in figures[MIXED].items()
        },
        **{
            f"word_error_rate_percent, {load}": {
                name: round(word_error_rate(loads[load], measured.texts), 2)
                for name, measured in of.items()
            }
            for load, of in figures.items()
        },
        "rows_a_batch": round(rows_a_batch, 2),
        "batch_fill_percent": round(100 * rows_a_batch / settings.max_batch_size, 1),
        "ratios": _ratios(figures),
    }


def _ratios(figures: Figures) -> dict[str, float]:
    found: dict[str, float] = {}
    for load, sides in figures.items():
        rates = {name: measured.per_s for name, measured in sides.items()}
        short = rates.pop(SHORT, None)
        found |= ratios(rates, TARGETS, of=f"{load}/s")
        if short:
            found |= ratios(
                {**rates, "recado": short}, SHORT_TARGETS, of=f"{load}/s with short windows"
            )
        by_cpu = {name: sides[name].per_cpu_s for name in rates}
        found |= ratios(by_cpu, {}, of=f"{load} per CPU second")
        if short:
            by_cpu["recado"] = sides[SHORT].per_cpu_s
            found |= ratios(by_cpu, {}, of=f"{load} per CPU second with short windows")
    return found


async def _round(side: Side, clips: Sequence[Clip], measured: Measured) -> None:
    before = time.process_time()
    seconds, latencies, texts = await _measure(side, clips, len(clips))
    measured.per_cpu_s.append(len(clips) / (time.process_time() - before))
    measured.per_s.append(len(clips) / seconds)
    measured.latency_ms.append(1000 * median(latencies))
    measured.texts = texts


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
