"""Chat on this machine: the same replies as in float32, batched as alone, and how far from the floor."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from models.errors import RecadoError
from models.inference import ChatMessage, ChatReply, ChatRequest
from serve_app.engines.check.machine import Peak
from serve_app.engines.check.report import Report
from serve_app.engines.check.shapes import ChatShape, chat_floor_s, chat_model
from serve_app.engines.continuous_chat import ContinuousChat
from serve_app.engines.generation import ChatGenerator, ChatRow, load_chat_model
from serve_app.engines.prefix_cache import PrefixCache
from serve_app.engines.registry import create_chat_engine, resolve_model
from serve_app.settings import ChatSettings

Batching = Literal["dynamic", "continuous"]

QUESTIONS = (
    "hello",
    "how much is the flat white?",
    "are you open on friday?",
    "where are you?",
    "table for four on friday at seven please",
    "what is your phone number?",
    "can I talk to a person?",
    "do you have wifi?",
)
FEW = 4
"""Tokens of the shorter of two runs, whose difference is the cost of a step without the prompt."""
RESULT = 32
"""Tokens of a tool's call and result."""
CACHE_SHARE = 0.3
MIN_EQUAL = 0.85
"""Replies in 16 bits that must equal float32's: a near tie may fall the other way."""


async def check_chat(report: Report, *, device: str, batchings: Sequence[Batching]) -> None:
    """The engine with the demo model."""
    precise = await _replies("dynamic", "cpu", "float32", together=False)
    for batching in batchings:
        for dtype, least in (("float32", 1.0), ("bfloat16", MIN_EQUAL)):
            part = f"chat {batching} {dtype}"
            try:
                alone = await _replies(batching, device, dtype, together=False)
                together = await _replies(batching, device, dtype, together=True)
            except RecadoError as error:
                report.add(part, "runs", str(error), ok=False)
                continue
            for what, one, other in (
                ("replies as in float32", alone, precise),
                ("batched as alone", together, alone),
            ):
                equal = sum(a == b for a, b in zip(one, other, strict=True))
                report.add(
                    part, what, f"{equal} of {len(one)}", ok=equal >= least * len(one), equal=equal
                )


async def _replies(
    batching: Batching, device: str, dtype: str, *, together: bool
) -> list[tuple[str, list[tuple[str, dict[str, object]]]]]:
    settings = ChatSettings(batching=batching, dtype=dtype, cache_memory_share=0.1)
    engine = create_chat_engine(settings, device=device)
    await engine.start()

    async def ask(text: str) -> ChatReply:
        message = ChatMessage(role="user", content=text)
        return await engine.chat(ChatRequest(request_id=text, messages=(message,)))

    try:
        if together:
            replies = await asyncio.gather(*(ask(text) for text in QUESTIONS))
        else:
            replies = [await ask(text) for text in QUESTIONS]
    finally:
        await engine.stop()
    return [
        (reply.content, [(call.name, call.arguments) for call in reply.tool_calls])
        for reply in replies
    ]


async def measure_chat(
    report: Report,
    shape: ChatShape,
    *,
    device: str,
    peak: Peak,
    batches: Sequence[int],
    batchings: Sequence[Batching],
    prompt: int,
    steps: int,
    repeats: int,
) -> None:
    """Random weights and prompts: what one more token costs, and tokens a second over all rows."""
    import torch

    dtype = torch.bfloat16 if device.startswith("cuda") else torch.float32
    model = chat_model(shape, device=device, dtype=dtype)
    tokenizer = load_chat_model(resolve_model("demo", kind="chat"), device="cpu").tokenizer
    generator = ChatGenerator(tokenizer=tokenizer, model=model)

    def rows(count: int, tokens: int) -> list[ChatRow]:
        ids = torch.randint(2, shape.vocabulary, (count, prompt)).tolist()
        return [ChatRow(tokens=tuple(each), max_tokens=tokens, temperature=0.0) for each in ids]

    async def dynamic(wanted: Sequence[ChatRow]) -> None:
        await asyncio.to_thread(generator.generate, wanted)

    chat = ContinuousChat(generator=generator, sampling=False, memory_share=CACHE_SHARE)

    async def continuous(wanted: Sequence[ChatRow]) -> None:
        await asyncio.gather(*(chat.complete(row) for row in wanted))

    for batching in batchings:
        work = dynamic if batching == "dynamic" else continuous
        try:
            if batching == "continuous":
                await asyncio.to_thread(chat.start)
            for count in batches:
                few = await _median(work, [rows(count, FEW) for _ in range(repeats + 1)])
                many = await _median(work, [rows(count, steps) for _ in range(repeats + 1)])
                step = max(many - few, 1e-9) / (steps - FEW)
                floor = chat_floor_s(
                    model.num_parameters(),
                    shape,
                    rows=count,
                    context=prompt,
                    bandwidth=peak.bandwidth,
                )
                report.add(
                    f"chat {shape.name}",
                    f"{batching}, batch {count}, prompt {prompt}",
                    f"{step * 1e3:.2f} ms a step, {step / floor:.1f} x the floor of "
                    f"{floor * 1e3:.2f} ms; {count * steps / many:.0f} tokens/s with the prompts",
                    step_ms=step * 1e3,
                    times_floor=step / floor,
                    tokens_per_s=count * steps / many,
                )
        except (RecadoError, RuntimeError) as error:
            report.add(f"chat {shape.name}", batching, str(error).partition("\n")[0], ok=False)
    await asyncio.to_thread(chat.stop)
    if "dynamic" in batchings:
        await asyncio.to_thread(
            _measure_beginnings, report, shape, generator, prompt=prompt, repeats=repeats
        )


def _measure_beginnings(
    report: Report, shape: ChatShape, generator: ChatGenerator, *, prompt: int, repeats: int
) -> None:
    """The second step of a turn: what was read and a tool's result behind it, until the first token."""
    import torch

    prefixes = PrefixCache(max_bytes=2**30)
    keeping = ChatGenerator(tokenizer=generator.tokenizer, model=generator.model, prefixes=prefixes)
    seconds: dict[str, list[float]] = {"anew": [], "reused": []}
    for _ in range(repeats + 1):
        tokens = torch.randint(2, shape.vocabulary, (prompt + RESULT,)).tolist()
        keeping.generate([ChatRow(tuple(tokens[:prompt]), max_tokens=1, temperature=0.0)])
        row = ChatRow(tuple(tokens), max_tokens=1, temperature=0.0)
        for name, used in (("anew", generator), ("reused", keeping)):
            started = time.perf_counter()
            used.generate([row])
            seconds[name].append(time.perf_counter() - started)
    anew, reused = (statistics.median(each[1:]) for each in seconds.values())
    report.add(
        f"chat {shape.name}",
        f"dynamic, {RESULT} tokens after {prompt} that were read before",
        f"{reused * 1e3:.1f} ms until the first token, {anew * 1e3:.1f} ms without reuse "
        f"({anew / reused:.1f} x)",
        ok=bool(prefixes.reused_tokens),
        reused_ms=reused * 1e3,
        anew_ms=anew * 1e3,
    )


async def _median(
    work: Callable[[Sequence[ChatRow]], Awaitable[None]], prompts: Sequence[Sequence[ChatRow]]
) -> float:
    """Seconds; the first isn't counted, and each has prompts of its own, so that none is in a cache."""
    seconds: list[float] = []
    for wanted in prompts:
        started = time.perf_counter()
        await work(wanted)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])
