"""The check's command line."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from serve_app.engines.check.chat import Batching, check_chat, measure_chat
from serve_app.engines.check.machine import peak_of
from serve_app.engines.check.report import Report, describe_machine
from serve_app.engines.check.shapes import CHAT_SHAPES, TINY_SPEECH, TURBO
from serve_app.engines.check.speech import check_network, check_speech, measure_speech
from serve_app.settings import PROJECT_ROOT


def run(arguments: Sequence[str]) -> int:
    """1 if something is wrong, 0 else."""
    options = _parser().parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    report = asyncio.run(_check(options))
    sys.stdout.write(report.table() + "\n\n" + json.dumps(report.as_json()) + "\n")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(), indent=2) + "\n", "utf-8")
    return 1 if report.failed else 0


DESCRIPTION = """Checks the engines on this machine, without Ray: first that they are right (against float32,
and batched against alone), then how fast they are at real sizes with random weights. Exit status 1 if
something is wrong."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m serve_app.engines.check", description=DESCRIPTION
    )
    parser.add_argument("--device", help="cpu or cuda; cuda where there is one")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, under a minute on a CPU")
    parser.add_argument("--only", choices=["speech", "chat"])
    parser.add_argument(
        "--chat-shape",
        choices=CHAT_SHAPES,
        help="what the chat model of random weights is as large as; tiny on a CPU and with --quick, 8b else",
    )
    parser.add_argument("--no-speed", action="store_true", help="correctness alone")
    parser.add_argument(
        "--notes",
        type=Path,
        default=PROJECT_ROOT / "demo" / "voice-notes",
        help="folder of voice notes; 16 kHz WAV files beside them are read where PyAV is missing",
    )
    parser.add_argument("--json", type=Path, help="write the findings here too")
    return parser


async def _check(options: argparse.Namespace) -> Report:
    import torch

    device: str = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    quick: bool = options.quick or device == "cpu"
    shape: str = options.chat_shape or ("tiny" if quick else "8b")
    if shape == "tiny" and device == "cpu":
        # Tiny steps suffer from threads that wait for each other.
        torch.set_num_threads(1)
    report = Report(machine=describe_machine(device))
    peak = peak_of(device)
    report.add(
        "machine",
        "peak",
        f"{peak.flops / 1e12:.3g} TFLOP/s, {peak.bandwidth / 1e9:.3g} GB/s, {peak.source}",
    )
    if options.only != "chat":
        await asyncio.to_thread(check_network, report, TINY_SPEECH, device=device)
        await check_speech(report, device=device, notes=options.notes)
        if not options.no_speed:
            await asyncio.to_thread(
                measure_speech,
                report,
                TINY_SPEECH if quick else TURBO,
                device=device,
                peak=peak,
                batches=(1, 2) if quick else (1, 16, 32, 64),
                repeats=1 if quick else 5,
            )
    batchings: tuple[Batching, ...] = ("dynamic", "continuous") if device != "cpu" else ("dynamic",)
    if options.only != "speech":
        await check_chat(report, device=device, batchings=batchings)
        if not options.no_speed:
            await measure_chat(
                report,
                CHAT_SHAPES[shape],
                device=device,
                peak=peak,
                batches=(1, 2) if quick else (1, 16, 64),
                batchings=batchings,
                prompt=32 if shape == "tiny" else 512,
                steps=8 if quick else 68,
                repeats=1 if quick else 3,
            )
    return report
