"""Continuous batching: transformers' manager, which admits and releases requests between steps.

It pages the keys and values, shares the blocks of equal prefixes (an owner's instructions and tools), and
is made for CUDA with flash attention; on a CPU it runs, at a fraction of a dynamic batch's speed.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
from typing import Any

import structlog

from models.errors import EngineUnavailableError, InferenceError
from serve_app.engines.generation import ChatGenerator, ChatRow, Completion

log = structlog.get_logger(__name__)

RETRY_S = 2.0
GREEDY_TEMPERATURE = 1e-6
"""Sampling at it takes the likeliest token: the manager samples either every request or none."""
STOP_GRACE_S = 20.0


class ContinuousChat:
    """One manager over the generator's model. `memory_share` is of the GPU's free memory, for keys and
    values; `sampling` off answers every request greedily, which saves sorting the vocabulary each step."""

    def __init__(
        self, *, generator: ChatGenerator, sampling: bool, memory_share: float | None = None
    ) -> None:
        self._generator = generator
        self._sampling = sampling
        self._memory_share = memory_share
        self._manager: Any = None
        self._ids = itertools.count()
        self._told = False
        self.running = 0
        self.finished = 0

    def start(self) -> None:
        """Blocking: allocates the cache and captures CUDA graphs where the library uses them."""
        from transformers import ContinuousBatchingConfig

        options: dict[str, Any] = {"per_request_processors": self._sampling}
        if self._memory_share is not None:
            options["max_memory_percent"] = self._memory_share
        self._manager = self._generator.model.init_continuous_batching(
            generation_config=self._generator.continuous_config(sampling=self._sampling),
            continuous_batching_config=ContinuousBatchingConfig(**options),
        )
        if self._generator.model.device.type == "cuda":
            self._manager.warmup()
        self._manager.start()

    def stop(self) -> None:
        """Blocking; requests inside fail."""
        if self._manager is not None:
            self._manager.stop(block=True, timeout=STOP_GRACE_S, hard_stop=True)

    async def complete(self, row: ChatRow) -> tuple[Completion, int]:
        """The completion, and how many requests were running when it began."""
        manager = self._manager
        if manager is None or not manager.is_running():
            raise EngineUnavailableError(
                "continuous batching has stopped: the replica must restart", retry_after=RETRY_S
            )
        request_id = f"chat-{next(self._ids)}"
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        watching = bool(row.stop)

        def deliver(output: Any) -> None:
            if done.done():
                return
            if output.error:
                done.set_exception(InferenceError(f"the chat model failed: {output.error}"))
            elif output.is_finished() or (
                watching and self._generator.stopped(row, output.generated_tokens)
            ):
                done.set_result(list(output.generated_tokens))

        manager.register_result_handler(request_id, deliver)
        self.running += 1
        beside = self.running
        try:
            accepted = manager.add_request(
                list(row.tokens),
                request_id=request_id,
                max_new_tokens=row.max_tokens,
                streaming=watching,
                eos_token_id=list(self._generator.ends),
                **self._wishes(row),
            )
            if accepted is None:
                raise EngineUnavailableError(
                    "continuous batching takes nothing more", retry_after=RETRY_S
                )
            tokens = await done
        finally:
            self.running -= 1
            self._forget(request_id)
        self.finished += 1
        return self._generator.completion(row, tokens), beside

    @property
    def alive(self) -> bool:
        return self._manager is not None and self._manager.is_running()

    def _wishes(self, row: ChatRow) -> dict[str, float]:
        if (
            row.seed is not None or (row.temperature > 0 and not self._sampling)
        ) and not self._told:
            self._told = True
            log.warning("chat_sampling_ignored", seed=row.seed, temperature=row.temperature)
        if not self._sampling:
            return {}
        return {"temperature": row.temperature or GREEDY_TEMPERATURE, "top_p": float(row.top_p)}

    def _forget(self, request_id: str) -> None:
        """End a request wherever it stands; of one that has ended nothing is left to forget."""
        manager = self._manager
        with manager.output_router._lock:
            waiting = manager.output_router.result_handlers.pop(request_id, None)
        if waiting is None:
            return
        manager.cancel_request(request_id)
        # Outputs that nobody waits for any more end in a queue without a bound.
        while True:
            try:
                manager.output_router.output_queue.get_nowait()
            except queue.Empty:
                return
