"""Engines without a model, for tests of what uses one and for benchmarks of everything around it.

They keep the engines' promises (admission, cancellation, counters) and pass the same contract suite.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from models.errors import InferenceError
from models.inference import (
    DETECT_LANGUAGE,
    ChatReply,
    ChatRequest,
    EngineStats,
    ToolCall,
    Transcript,
    TranscriptionRequest,
)
from serve_app.engines.admission import Admission

ScriptLine = str | ToolCall | ChatReply | Exception
"""A text, one tool call, a whole reply, or what to raise."""

Hearing = str | Exception
"""A text, or what to raise."""


class _FakeEngine:
    """What both fakes share. `delay_s` is how long each request takes."""

    def __init__(self, *, name: str, delay_s: float, max_waiting: int) -> None:
        self._name = name
        self._delay_s = delay_s
        self._admission = Admission(engine=f"the {name} engine", limit=max_waiting, timeout_s=60.0)
        self._answered = 0
        self._work_done = 0.0

    async def start(self) -> None:
        self._admission.open()

    async def stop(self) -> None:
        await self._admission.drain(grace_s=0.0)

    async def cancel(self, request_id: str) -> None:
        self._admission.cancel(request_id)

    def stats(self) -> EngineStats:
        return EngineStats(
            engine=self._name,
            model="none",
            device="cpu",
            requests=self._admission.requests,
            batches=self._answered,
            rows=self._answered,
            failures=self._admission.failures,
            running=self._admission.inside,
            work_done=self._work_done,
        )

    async def _pass_time(self) -> None:
        if self._delay_s:
            await asyncio.sleep(self._delay_s)
        self._answered += 1


class ScriptedChatModel(_FakeEngine):
    """Answers from a script: lines in order, or a function of the request.

    `repeat` starts the lines over at their end; otherwise a request too many raises `InferenceError`.
    `requests` is what was asked, in order. Usable without `start()`.
    """

    def __init__(
        self,
        script: Sequence[ScriptLine] | Callable[[ChatRequest], ScriptLine],
        *,
        repeat: bool = False,
        delay_s: float = 0.0,
        max_waiting: int = 1_000_000,
    ) -> None:
        super().__init__(name="scripted", delay_s=delay_s, max_waiting=max_waiting)
        self._script = script
        self._repeat = repeat
        self._position = 0
        self.requests: list[ChatRequest] = []
        self._admission.open()

    async def chat(self, request: ChatRequest) -> ChatReply:
        return await self._admission.run(request.request_id, lambda: self._chat(request))

    async def _chat(self, request: ChatRequest) -> ChatReply:
        self.requests.append(request)
        line = self._next(request)
        await self._pass_time()
        if isinstance(line, Exception):
            raise line
        reply = _as_reply(line)
        self._work_done += reply.usage.completion_tokens
        return reply

    def _next(self, request: ChatRequest) -> ScriptLine:
        if callable(self._script):
            return self._script(request)
        position = self._position % len(self._script) if self._repeat else self._position
        if position >= len(self._script):
            return InferenceError(f"the script has {len(self._script)} lines and no more")
        self._position += 1
        return self._script[position]


class FixedTranscriber(_FakeEngine):
    """Hears what it is told to: one text for all, a text per recording, or what a function says.

    A recording that the mapping doesn't know is silence. An exception in a text's place is raised.
    `requests` is what was asked, in order. Usable without `start()`.
    """

    def __init__(
        self,
        heard: Hearing | Mapping[bytes, Hearing] | Callable[[TranscriptionRequest], Hearing],
        *,
        language: str | None = "en",
        audio_seconds: float = 2.0,
        delay_s: float = 0.0,
        max_waiting: int = 1_000_000,
    ) -> None:
        super().__init__(name="fixed", delay_s=delay_s, max_waiting=max_waiting)
        self._hear = _as_function(heard)
        self._language = language
        self._audio_seconds = audio_seconds
        self.requests: list[TranscriptionRequest] = []
        self._admission.open()

    async def transcribe(self, request: TranscriptionRequest) -> Transcript:
        return await self._admission.run(request.request_id, lambda: self._transcribe(request))

    async def _transcribe(self, request: TranscriptionRequest) -> Transcript:
        self.requests.append(request)
        heard = self._hear(request)
        await self._pass_time()
        if isinstance(heard, Exception):
            raise heard
        self._work_done += self._audio_seconds
        return Transcript(
            text=heard,
            language=self._language
            if request.language in (None, DETECT_LANGUAGE)
            else request.language,
            audio_seconds=self._audio_seconds,
        )


def _as_reply(line: str | ToolCall | ChatReply) -> ChatReply:
    if isinstance(line, ChatReply):
        return line
    if isinstance(line, ToolCall):
        return ChatReply(tool_calls=(line,), finish_reason="tool_calls")
    return ChatReply(content=line)


def _as_function(
    heard: Hearing | Mapping[bytes, Hearing] | Callable[[TranscriptionRequest], Hearing],
) -> Callable[[TranscriptionRequest], Hearing]:
    if isinstance(heard, str | Exception):
        return lambda request: heard
    if callable(heard):
        return heard
    return lambda request: heard.get(request.audio, "")
