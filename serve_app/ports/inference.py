"""Speech to text and conversation to reply."""

from __future__ import annotations

from typing import Protocol

from models.inference import (
    ChatReply,
    ChatRequest,
    EngineStats,
    Transcript,
    TranscriptionRequest,
)


class Transcriber(Protocol):
    """Raises `EngineUnavailableError` (try later), `MediaRejectedError` (undecodable, too long)."""

    async def transcribe(self, request: TranscriptionRequest) -> Transcript: ...


class ChatModel(Protocol):
    """Raises `EngineUnavailableError` (try later) or `InferenceError`."""

    async def chat(self, request: ChatRequest) -> ChatReply: ...


class Engine(Protocol):
    """What every engine offers besides its one inference method. Independent of Ray."""

    async def start(self) -> None:
        """Load and warm up; raises `InferenceError` with a line that says what to do."""
        ...

    async def stop(self) -> None: ...

    async def cancel(self, request_id: str) -> None:
        """Forget a request: drop it if it waits, ignore its result if it runs."""
        ...

    def stats(self) -> EngineStats: ...


class SpeechEngine(Engine, Transcriber, Protocol):
    """Speech to text, batched across requests."""


class ChatEngine(Engine, ChatModel, Protocol):
    """Chat completions, batched across requests."""
