"""Several conversations at once: our engine against `generate` for one after the other, and against
transformers' own continuous batching."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from models.errors import RecadoError
from models.inference import ChatMessage, ChatRequest
from serve_app.cli.bench.clips import NOTES
from serve_app.cli.bench.machine import describe_machine
from serve_app.cli.bench.plot import Point, load_panels, write_svg
from serve_app.cli.bench.rounds import load_average, ratios
from serve_app.engines.registry import create_chat_engine, resolve_model
from serve_app.ports import ChatEngine
from serve_app.settings import ChatSettings

SEQUENTIAL, CONTINUOUS = "sequential generate", "continuous batching"
PEERS = (SEQUENTIAL, CONTINUOUS)
TARGETS = {SEQUENTIAL: 2.5}
SYSTEM = (
    "You answer for Café Aurora, a café in Lisbon. It opens at 08:00 and closes at 18:00, on Saturday from "
    "09:00 to 16:30. Be brief and friendly."
)
SWEEP = (1, 2, 4, 8, 16)


class Sequential:
    """transformers' `generate`, greedy, one conversation at a time, with our engine's number of threads."""

    def __init__(self, model: str, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(1)
        self._pool.submit(self._load, model, threads).result()

    def close(self) -> None:
        self._pool.shutdown()

    async def chat(self, request: ChatRequest) -> tuple[str, int]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._one, request)

    def _load(self, model: str, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(threads)
        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)  # pyright: ignore[reportUnknownMemberType] - untyped there
        loaded: Any = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportUnknownMemberType] - untyped there
            model, dtype=torch.float32
        )
        self._model: Any = loaded.eval()

    def _one(self, request: ChatRequest) -> tuple[str, int]:
        import torch

        prompt = self._tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in request.messages],
            add_generation_prompt=True,
            return_tensors="pt",
            return_dict=True,
        )
        with torch.inference_mode():
            written = self._model.generate(
                **prompt, max_new_tokens=request.max_tokens, do_sample=False
            )
        tokens = written[0, prompt["input_ids"].shape[1] :]
        return self._tokenizer.decode(tokens, skip_special_tokens=True).strip(), len(tokens)


class Ours:
    def __init__(self, engine: ChatEngine) -> None:
        self._engine = engine

    async def chat(self, request: ChatRequest) -> tuple[str, int]:
        reply = await self._engine.chat(request)
        # As the demo model writes a call; the peer's text isn't parsed.
        calls = [json.dumps({"name": c.name, "arguments": c.arguments}) for c in reply.tool_calls]
        return "\n".join([reply.content] * bool(reply.content) + calls), (
            reply.usage.completion_tokens
        )


Side = Sequential | Ours


def run(
    *,
    conversations: int,
    rounds: int,
    model: str,
    max_tokens: int,
    against: tuple[str, ...],
    plot: Path | None,
) -> dict[str, object]:
    """Tokens per second over `conversations` at the same time, and whether all wrote the same."""
    unknown = set(against) - set(PEERS)
    if unknown:
        raise RecadoError(f"unknown peer {', '.join(unknown)}: there are {', '.join(PEERS)}")
    peers = against or (SEQUENTIAL,)
    return asyncio.run(_run(conversations, rounds, model, max_tokens, peers, plot))


async def _run(
    conversations: int,
    rounds: int,
    model: str,
    max_tokens: int,
    against: tuple[str, ...],
    plot: Path | None,
) -> dict[str, object]:
    import torch

    # The peers compute every prompt; rounds repeat them.
    settings = ChatSettings(model=model, timeout_s=600, prefix_mb=0)
    engine = create_chat_engine(settings, device="cpu")
    engines = [engine]
    sides: dict[str, Side] = {"recado": Ours(engine)}
    if SEQUENTIAL in against:
        # The demo model is too small to gain from a second thread; see TransformersChatEngine.
        threads = 1 if model == "demo" else torch.get_num_threads()
        source = str(resolve_model(model, kind="chat"))
        sides[SEQUENTIAL] = Sequential(source, threads=threads)
    if CONTINUOUS in against:
        engines.append(
            create_chat_engine(settings.model_copy(update={"batching": "continuous"}), device="cpu")
        )
        sides[CONTINUOUS] = Ours(engines[1])
    requests = _requests(conversations, max_tokens)
    rates: dict[str, list[float]] = {side: [] for side in sides}
    by_cpu: dict[str, list[float]] = {side: [] for side in sides}
    texts: dict[str, list[str]] = {}
    try:
        for each in engines:
            await each.start()
        for side in sides.values():
            await _measure(side, requests[:2], 2)
        before = engine.stats()
        for _ in range(rounds):
            for name, side in sides.items():
                cpu = time.process_time()
                seconds, _, written = await _measure(side, requests, conversations)
                tokens = sum(count for _, count in written)
                by_cpu[name].append(tokens / (time.process_time() - cpu))
                rates[name].append(tokens / seconds)
                texts[name] = [text for text, _ in written]
        after = engine.stats()
        rows_a_batch = (after.rows - before.rows) / max(1, after.batches - before.batches)
        machine = {**describe_machine("torch", "transformers"), "load average": load_average()}
        if plot is not None:
            points = {name: await _sweep(side, max_tokens) for name, side in sides.items()}
            panels = load_panels(points, what="replies")
            write_svg(plot, panels, note=", ".join(f"{k} {v}" for k, v in machine.items()))
    finally:
        for each in engines:
            await each.stop()
        for side in sides.values():
            if isinstance(side, Sequential):
                side.close()
    same = sum(len(set(each)) == 1 for each in zip(*texts.values(), strict=True))
    return {
        "machine": machine,
        "model": model,
        "conversations": conversations,
        "rounds": rounds,
        "tokens_per_s": rates,
        "tokens_per_cpu_second": by_cpu,
        "rows_a_batch": round(rows_a_batch, 2),
        # What the conversations that there are could fill of one batch.
        "batch_fill_percent": round(
            100 * rows_a_batch / min(settings.max_batch_size, conversations), 1
        ),
        "same_text": f"{same} of {conversations}",
        "ratios": {
            **ratios(rates, TARGETS, of="tokens/s"),
            **ratios(by_cpu, {}, of="tokens per CPU second"),
        },
    }


async def _measure(
    side: Side, requests: Sequence[ChatRequest], concurrency: int
) -> tuple[float, list[float], list[tuple[str, int]]]:
    gate = asyncio.Semaphore(concurrency)
    latencies: list[float] = []

    async def one(request: ChatRequest) -> tuple[str, int]:
        async with gate:
            began = time.perf_counter()
            written = await side.chat(request)
            latencies.append(time.perf_counter() - began)
            return written

    started = time.perf_counter()
    written = await asyncio.gather(*(one(request) for request in requests))
    return time.perf_counter() - started, latencies, written


async def _sweep(side: Side, max_tokens: int) -> list[Point]:
    points: list[Point] = []
    for concurrency in SWEEP:
        requests = _requests(2 * concurrency, max_tokens)
        seconds, latencies, _ = await _measure(side, requests, concurrency)
        points.append(Point(concurrency, len(requests) / seconds, 1000 * median(latencies)))
    return points


def _requests(count: int, max_tokens: int) -> list[ChatRequest]:
    questions = [
        n["says"] for n in json.loads((NOTES / "voice-notes.json").read_text()) if n["says"]
    ]
    return [
        ChatRequest(
            request_id=f"{count}-{index}-{time.monotonic_ns()}",
            messages=(
                ChatMessage(role="system", content=SYSTEM),
                ChatMessage(role="user", content=questions[index % len(questions)]),
            ),
            max_tokens=max_tokens,
        )
        for index in range(count)
    ]
