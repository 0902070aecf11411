"""Requests to the models and their results, in the shape of OpenAI's chat completions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.messages import Frozen

DETECT_LANGUAGE = "auto"
"""In place of a language: it is detected, also where the settings name one."""


class TranscriptionRequest(Frozen):
    """One recording, encoded (Ogg/Opus, MP3, M4A, WAV). What is None or empty is as the settings say."""

    request_id: str
    audio: bytes = Field(repr=False)
    content_type: str = "audio/ogg"
    language: str | None = None
    """ISO 639-1, or `DETECT_LANGUAGE`."""
    prompt: str | None = None
    """Text as it might come before the recording: spelling and style follow it."""
    hot_words: tuple[str, ...] = ()
    """Names and terms that are likely to be said."""
    translate: bool | None = None
    """Into English instead of the language that is spoken."""
    word_timestamps: bool | None = None


class Word(Frozen):
    """A word and when it was said, in seconds from the recording's start."""

    text: str
    start: float
    end: float
    probability: float


class Transcript(Frozen):
    """What was said. An empty `text` means that nobody spoke."""

    text: str
    language: str | None = None
    """What was spoken, also where the text is a translation."""
    language_probability: float | None = None
    words: tuple[Word, ...] = ()
    """Where they were asked for."""
    audio_seconds: float
    processing_seconds: float = 0.0
    batch_size: int = 1


class ToolCall(Frozen):
    """A model's wish to call a tool; `arguments` is parsed JSON."""

    id: str
    name: str
    arguments: dict[str, object] = Field(default_factory=dict[str, object])


class ToolSpec(Frozen):
    """A tool as the model is told of it; `parameters` is a JSON schema of an object."""

    name: str
    description: str
    parameters: dict[str, object]


class ChatMessage(Frozen):
    """One message of the prompt. `tool_call_id` and `name` belong to role `tool`."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    name: str | None = None


class ChatRequest(Frozen):
    """One completion. `max_prompt_tokens` bounds the prompt: the engine drops the oldest messages first.
    `model` is for engines that offer several; others, and None, use the one they have."""

    request_id: str
    messages: tuple[ChatMessage, ...]
    tools: tuple[ToolSpec, ...] = ()
    model: str | None = None
    temperature: float = Field(default=0.0, ge=0)
    """0 takes the likeliest token each time."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    seed: int | None = None
    """The same seed gives the same reply, as far as the engine can."""
    stop: tuple[str, ...] = ()
    """Texts at whose first occurrence the reply ends; they aren't part of it."""
    max_tokens: int = 256
    max_prompt_tokens: int | None = None


class ChatUsage(Frozen):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class ChatReply(Frozen):
    """The model's answer: a text, tool calls, or both."""

    content: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: Literal["stop", "length", "tool_calls"] = "stop"
    usage: ChatUsage = ChatUsage()
    processing_seconds: float = 0.0
    batch_size: int = 1


class EngineStats(Frozen):
    """Counters since the engine started; `waiting` and `running` are now."""

    engine: str
    model: str
    device: str
    requests: int = 0
    batches: int = 0
    rows: int = 0
    failures: int = 0
    waiting: int = 0
    running: int = 0
    busy_seconds: float = 0.0
    work_done: float = 0.0
    """Seconds of audio for speech, completion tokens for chat."""
    batch_limit: int = 0
    """Rows that a batch may have; 0 where nobody told."""
    replica: str = ""
    """Which one counted: another start is another replica."""

    @property
    def room(self) -> int:
        """Rows that would have filled all batches."""
        return self.batches * self.batch_limit
