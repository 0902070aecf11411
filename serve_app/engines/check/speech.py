"""Whisper on this machine: the same words as in float32, batched as alone, and how far from the floor."""

from __future__ import annotations

import asyncio
import importlib.util
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import RecadoError
from models.inference import TranscriptionRequest
from serve_app.engines.check.machine import Peak, median_seconds
from serve_app.engines.check.report import Report
from serve_app.engines.check.shapes import SpeechShape, speech_floor_s, speech_model
from serve_app.engines.registry import create_speech_engine
from serve_app.engines.transformers_whisper import graph_sizes
from serve_app.settings import SpeechSettings

TOKENS = 48
"""Of a transcript; a voice note of ten seconds has about as many."""
MIN_EQUAL = 0.9
"""Rows of random weights in 16 bits that must equal: filling a batch up changes how sums are rounded."""
MAX_LOGIT_ERROR = 2e-3
"""Against transformers' own forward pass, both in float32."""


async def check_speech(report: Report, *, device: str, notes: Path) -> None:
    """The engines with the demo model and its voice notes."""
    recordings, heard = _recordings(notes)
    if not recordings:
        report.add("speech", "voice notes", "skipped: pip install av, or --notes with WAV files")
    for engine in ("transformers", "faster-whisper"):
        if engine == "faster-whisper" and importlib.util.find_spec("faster_whisper") is None:
            report.add("speech", engine, "not installed")
        elif recordings:
            try:
                await _check_engine(report, engine, device, recordings, heard)
            except RecadoError as error:
                # torch is what this machine was brought for; CTranslate2 may lack its libraries.
                report.add(
                    "speech", engine, str(error), ok=False if engine == "transformers" else None
                )


async def _check_engine(
    report: Report, name: Any, device: str, recordings: Sequence[bytes], heard: Sequence[str]
) -> None:
    precise = await _texts(name, "cpu", "float32", recordings, together=False)
    alone = await _texts(name, device, "auto", recordings, together=False)
    together = await _texts(name, device, "auto", recordings, together=True)
    total = len(recordings)

    def equal(one: Sequence[str], other: Sequence[str]) -> int:
        return sum(a == b for a, b in zip(one, other, strict=True))

    for what, count in (
        ("texts as in float32", equal(alone, precise)),
        ("batched as alone", equal(together, alone)),
        ("texts as expected", equal(together, heard)),
    ):
        report.add(f"speech {name}", what, f"{count} of {total}", ok=count == total)


async def _texts(
    name: Any, device: str, compute_type: str, recordings: Sequence[bytes], *, together: bool
) -> list[str]:
    settings = SpeechSettings(engine=name, compute_type=compute_type, max_batch_size=16)
    engine = create_speech_engine(settings, device=device)
    await engine.start()
    try:
        asked = [
            engine.transcribe(TranscriptionRequest(request_id=str(number), audio=audio))
            for number, audio in enumerate(recordings)
        ]
        if together:
            return [transcript.text for transcript in await asyncio.gather(*asked)]
        return [(await each).text for each in asked]
    finally:
        await engine.stop()


def _recordings(notes: Path) -> tuple[list[bytes], list[str]]:
    listed = json.loads((notes / "voice-notes.json").read_text("utf-8"))
    with_av = importlib.util.find_spec("av") is not None
    recordings: list[bytes] = []
    heard: list[str] = []
    for each in listed:
        wave = (notes / each["file"]).with_suffix(".wav")
        file = notes / each["file"] if with_av and not wave.is_file() else wave
        # Silence is voice detection's business, which may be missing here.
        if file.is_file() and each["heard"]:
            recordings.append(file.read_bytes())
            heard.append(each["heard"])
    return recordings, heard


def check_network(report: Report, shape: SpeechShape, *, device: str) -> None:
    """Our pass over the weights against transformers' own."""
    import torch

    from serve_app.engines.whisper_network import Memory, WhisperNetwork

    model = speech_model(shape, device=device, dtype=torch.float32)
    network = WhisperNetwork(model)
    with torch.inference_mode():
        features = torch.randn(2, shape.mel_bands, 3000, device=device)
        tokens = torch.randint(0, 1000, (2, 6), device=device)
        expected = model(input_features=features, decoder_input_ids=tokens).logits
        encoded = network.encode(features)
        memory = Memory(network, rows=2, positions=encoded.shape[1])
        network.listen(encoded, memory)
        positions = torch.arange(6, device=device).expand(2, -1)
        found = network.logits(network.advance(tokens, positions, memory))
        error = float((found - expected).abs().max() / expected.abs().max())
    report.add(
        "speech network",
        f"logits against transformers, {shape.name}",
        f"relative error {error:.1e}",
        ok=error < MAX_LOGIT_ERROR,
        relative_error=error,
    )


def measure_speech(
    report: Report,
    shape: SpeechShape,
    *,
    device: str,
    peak: Peak,
    batches: Sequence[int],
    repeats: int,
) -> None:
    """Windows of 30 s with random weights: encoding, then `TOKENS` steps."""
    import torch

    from serve_app.engines.whisper_network import WhisperNetwork
    from serve_app.engines.whisper_sampling import Vocabulary
    from serve_app.engines.whisper_writing import Writer

    cuda = device.startswith("cuda")
    model = speech_model(shape, device=device, dtype=torch.float16 if cuda else torch.float32)
    network = WhisperNetwork(model)
    end = shape.vocabulary - 1509
    vocabulary = Vocabulary(
        size=shape.vocabulary, end=end, start=end + 1, no_speech=end + 2, no_timestamps=end + 7,
        previous=end + 3, transcribe=end + 4, translate=end + 5, languages={},
        # Random weights would end anywhere.
        suppressed=(end,), suppressed_at_begin=(),
    )  # fmt: skip
    sizes = graph_sizes(max(batches)) if cuda else []
    writer = Writer(network=network, vocabulary=vocabulary, graph_sizes=sizes)
    eager = Writer(network=network, vocabulary=vocabulary)
    prompt = [vocabulary.start, end - 1, vocabulary.transcribe]
    floor = speech_floor_s(shape, tokens=TOKENS, flops=peak.flops, bandwidth=peak.bandwidth)
    for rows in batches:
        with torch.inference_mode():
            features = torch.randn(rows, shape.mel_bands, 3000, device=device).to(network.dtype)
            encoded = network.encode(features)
            encode = partial(network.encode, features)
            write = partial(writer.write, encoded, [prompt] * rows, max_steps=TOKENS)
            if writer.graph_sizes:
                by_graph, plain = (
                    each.write(encoded, [prompt] * rows, max_steps=TOKENS)
                    for each in (writer, eager)
                )
                same = sum(a.tokens == b.tokens for a, b in zip(by_graph, plain, strict=True))
                report.add(
                    "speech graphs",
                    f"tokens as without graphs, batch {rows}",
                    f"{same} of {rows}, {writer.graphs} captured",
                    ok=same >= rows * MIN_EQUAL and writer.graphs > 0,
                )
            encoding = median_seconds(encode, device, repeats) / rows
            window = encoding + median_seconds(write, device, repeats) / rows
        report.add(
            f"speech {shape.name}",
            f"batch {rows}, {TOKENS} tokens",
            f"{window * 1e3:.2f} ms a window ({encoding * 1e3:.2f} encoding), "
            f"{1 / window:.0f} clips/s, {window / floor:.1f} x the floor of {floor * 1e3:.2f} ms",
            window_ms=window * 1e3,
            encode_ms=encoding * 1e3,
            clips_per_s=1 / window,
            times_floor=window / floor,
        )
