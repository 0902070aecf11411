"""Chat on transformers, batched across requests.

On a CPU dynamic left-padded batches through `generate` beat both one request at a time and transformers'
continuous batching, which is built for flash attention; on CUDA continuous batching is the default.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from models.errors import InferenceError
from models.inference import (
    ChatMessage,
    ChatReply,
    ChatRequest,
    ChatUsage,
    EngineStats,
    ToolCall,
)
from serve_app.engines.admission import Admission
from serve_app.engines.batcher import Batcher
from serve_app.engines.continuous_chat import ContinuousChat
from serve_app.engines.generation import ChatGenerator, ChatRow, Completion, load_chat_model
from serve_app.engines.pools import Pool, usable_cores
from serve_app.settings import ChatSettings

log = structlog.get_logger(__name__)

STOP_GRACE_S = 20.0
SMALL_MODEL_PARAMETERS = 10_000_000


class TransformersChatEngine:
    """`model` is a folder in transformers' form, or a name on the model hub."""

    def __init__(self, *, settings: ChatSettings, device: str, model: Path | str) -> None:
        self._settings = settings
        self._device = device
        self._source = model
        self._writing = Pool(name="chat-tokens", threads=1)
        self._inference = Pool(name="chat-infer", threads=1)
        self._batcher = Batcher(
            run=self._run_batch,
            max_batch_size=settings.max_batch_size,
            wait_s=settings.batch_wait_s,
        )
        self._admission = Admission(
            engine="the chat engine",
            limit=settings.max_waiting + settings.max_batch_size,
            timeout_s=settings.timeout_s,
        )
        self._generator: ChatGenerator | None = None
        self._continuous: ContinuousChat | None = None
        self._completion_tokens = 0
        self._continuous_seconds = 0.0
        self._reviving = asyncio.Lock()

    async def start(self) -> None:
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        started = time.perf_counter()
        batching = self._settings.batching
        if batching == "auto":
            batching = "continuous" if self._device.startswith("cuda") else "dynamic"
        self._generator = await self._inference.run(
            load_chat_model,
            self._source,
            device=self._device,
            dtype=self._settings.dtype,
            prefix_bytes=self._settings.prefix_mb * 2**20 if batching == "dynamic" else 0,
        )
        await self._inference.run(self._set_threads, self._generator.parameters)
        greeting = ChatRequest(
            request_id="warm-up", messages=(ChatMessage(role="user", content="Hello"),)
        )
        row = self._generator.row(greeting, max_tokens=2)
        try:
            await self._inference.run(self._generator.try_prefixes)
        except InferenceError as error:
            log.warning("prefixes_not_reused", model=self._settings.model, reason=str(error))
        if batching == "continuous":
            self._continuous = ContinuousChat(
                generator=self._generator,
                sampling=self._settings.sampling,
                memory_share=self._settings.cache_memory_share,
            )
            await self._inference.run(self._continuous.start)
        await self._complete(row)
        self._admission.open()
        log.info(
            "chat_engine_started",
            model=self._settings.model,
            device=self._device,
            batching=batching,
            seconds=round(time.perf_counter() - started, 2),
        )

    async def stop(self) -> None:
        self._admission.close()
        await self._batcher.stop(grace_s=STOP_GRACE_S)
        await self._admission.drain(grace_s=STOP_GRACE_S)
        if self._continuous is not None:
            await self._inference.run(self._continuous.stop)
            self._continuous = None
        self._writing.close()
        self._inference.close()

    async def cancel(self, request_id: str) -> None:
        self._admission.cancel(request_id)

    async def chat(self, request: ChatRequest) -> ChatReply:
        return await self._admission.run(request.request_id, lambda: self._chat(request))

    def stats(self) -> EngineStats:
        """Under continuous batching, a request is a batch of its own, and what waits counts as running."""
        continuous = self._continuous
        return EngineStats(
            engine="transformers",
            model=self._settings.model,
            device=self._device,
            requests=self._admission.requests,
            batches=continuous.finished if continuous else self._batcher.batches,
            rows=continuous.finished if continuous else self._batcher.rows,
            failures=self._admission.failures,
            waiting=self._batcher.waiting,
            running=continuous.running if continuous else self._batcher.running,
            busy_seconds=self._continuous_seconds or self._batcher.busy_seconds,
            work_done=float(self._completion_tokens),
        )

    async def _chat(self, request: ChatRequest) -> ChatReply:
        generator = self._started()
        started = time.perf_counter()
        max_tokens = min(request.max_tokens, self._settings.max_tokens)
        row = await self._writing.run(generator.row, request, max_tokens=max_tokens)
        completion, beside = await self._complete(row)
        self._completion_tokens += len(completion.tokens)
        parsed = await self._writing.run(generator.parse, row, completion, request)
        if parsed.unreadable:
            log.warning("tool_call_unreadable", request_id=request.request_id)
        calls = tuple(
            ToolCall(id=f"{request.request_id}/{index}", name=name, arguments=arguments)
            for index, (name, arguments) in enumerate(parsed.calls)
        )
        if not calls and not parsed.content and parsed.unreadable:
            raise InferenceError("the model wrote nothing but a tool call that can't be read")
        return ChatReply(
            content=parsed.content,
            tool_calls=calls,
            finish_reason="tool_calls" if calls else "stop" if completion.ended else "length",
            usage=ChatUsage(
                prompt_tokens=len(row.tokens),
                completion_tokens=len(completion.tokens) + completion.ended,
            ),
            processing_seconds=time.perf_counter() - started,
            batch_size=beside,
        )

    async def _complete(self, row: ChatRow) -> tuple[Completion, int]:
        """With how many rows were written together. Cancelling the caller ends the row's part."""
        if self._continuous is not None:
            await self._revive(self._continuous)
            started = time.perf_counter()
            try:
                return await self._continuous.complete(row)
            finally:
                self._continuous_seconds += time.perf_counter() - started
        try:
            batched = await self._batcher.submit(row)
        except asyncio.CancelledError:
            row.abandoned = True
            raise
        return batched.value, batched.batch_size

    async def _revive(self, continuous: ContinuousChat) -> None:
        """Start the library's loop anew where an error ended it; requests inside were failed by it."""
        if continuous.alive:
            return
        async with self._reviving:
            if not continuous.alive:
                log.error("continuous_batching_restarted")
                await self._inference.run(continuous.start)

    async def _run_batch(self, rows: Sequence[ChatRow]) -> list[Completion]:
        return await self._inference.run(self._started().generate, rows)

    def _started(self) -> ChatGenerator:
        if self._generator is None:
            raise InferenceError("the chat engine was not started")
        return self._generator

    def _set_threads(self, parameters: int) -> None:
        """Torch's thread count belongs to the calling thread, so this runs on the one that computes.

        A small model's steps are too short to share: measured with 2.7 M parameters on two cores, a
        second thread gains nothing when they are idle and makes replies 2 to 20 times slower when they
        aren't, since the threads spin while they wait for each other.
        """
        import torch

        fitting = 1 if parameters < SMALL_MODEL_PARAMETERS else usable_cores()
        torch.set_num_threads(self._settings.cpu_threads or fitting)
