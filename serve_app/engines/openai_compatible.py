"""Chat on a server that speaks OpenAI's chat completions: vLLM, SGLang, Ollama, llama.cpp, ray.serve.llm.

The server batches; this engine bounds how much is asked of it at once and sorts its failures into those
worth another try and those that aren't. Short troubles (a 429, a restart behind a balancer) are waited
out here; long ones go back to the queue, with the server's Retry-After.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx2
import structlog
from pydantic import BaseModel, Field, SecretStr, ValidationError

from models.errors import EngineUnavailableError, InferenceError
from models.inference import (
    ChatMessage,
    ChatReply,
    ChatRequest,
    ChatUsage,
    EngineStats,
    ToolCall,
)
from serve_app.engines.admission import Admission
from serve_app.engines.prompts import as_openai_message, as_openai_tool, fit_messages
from serve_app.engines.tool_calls import parse_reply, read_arguments
from serve_app.settings import ChatSettings

log = structlog.get_logger(__name__)

CONNECT_TIMEOUT_S = 5.0
MAX_RETRY_WAIT_S = 5.0
"""A longer wait is the queue's business."""
STOP_GRACE_S = 20.0
BYTES_PER_TOKEN = 3
"""For the prompt budget, since the server's tokenizer isn't here: UTF-8 bytes, on the careful side."""
MESSAGE_TOKENS = 8
"""What a chat template adds around a message, about."""
MAX_ERROR_CHARS = 300
RENAMED = {"max_tokens": "max_completion_tokens"}
"""What hosted reasoning models want instead; servers of one's own mostly know the old name only."""
LEFT_OUT = frozenset({"temperature", "top_p"})
"""What such models refuse unless it is at its default."""


class _Function(BaseModel):
    name: str
    arguments: object = None


class _Call(BaseModel):
    function: _Function


class _Message(BaseModel):
    content: str | None = None
    tool_calls: list[_Call] | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


class OpenAICompatibleEngine:
    """`transport` replaces the network in tests, `chance` draws the waits between tries."""

    def __init__(
        self,
        *,
        settings: ChatSettings,
        api_key: SecretStr | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        chance: random.Random | None = None,
    ) -> None:
        if not settings.base_url:
            raise InferenceError("engine `openai` needs `chat.base_url`, up to and including /v1")
        self._settings = settings
        self._chance = chance or random.Random()  # noqa: S311 -- spreads retries, protects nothing
        headers = {"Authorization": f"Bearer {api_key.get_secret_value()}"} if api_key else {}
        self._client = httpx2.AsyncClient(
            base_url=settings.base_url.rstrip("/") + "/",
            headers=headers,
            timeout=httpx2.Timeout(settings.timeout_s, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            transport=transport,
        )
        self._admission = Admission(
            engine="the chat engine", limit=settings.max_waiting, timeout_s=settings.timeout_s
        )
        self._busy_seconds = 0.0
        self._completion_tokens = 0
        self._refused: dict[str, frozenset[str]] = {}
        """By model, parameters that it doesn't take as we would send them."""

    async def start(self) -> None:
        """A server that isn't up yet is no reason to fail; a key that it refuses is."""
        try:
            response = await self._client.get("models", timeout=CONNECT_TIMEOUT_S)
        except httpx2.HTTPError as error:
            log.warning("chat_server_unreachable", error=type(error).__name__)
        else:
            if response.status_code in (401, 403):
                await self._client.aclose()
                raise InferenceError(
                    f"the chat server answered {response.status_code}: set RECADO_OPENAI_API_KEY to "
                    "a key that it accepts"
                )
        self._admission.open()

    async def stop(self) -> None:
        await self._admission.drain(grace_s=STOP_GRACE_S)
        await self._client.aclose()

    async def cancel(self, request_id: str) -> None:
        self._admission.cancel(request_id)

    async def chat(self, request: ChatRequest) -> ChatReply:
        return await self._admission.run(request.request_id, lambda: self._chat(request))

    def stats(self) -> EngineStats:
        return EngineStats(
            engine="openai",
            model=self._settings.model,
            device="remote",
            requests=self._admission.requests,
            batches=self._admission.requests,
            rows=self._admission.requests,
            failures=self._admission.failures,
            running=self._admission.inside,
            busy_seconds=self._busy_seconds,
            work_done=float(self._completion_tokens),
        )

    async def _chat(self, request: ChatRequest) -> ChatReply:
        started = time.perf_counter()
        try:
            completion = await self._complete_patiently(self._body(request), started=started)
        finally:
            self._busy_seconds += time.perf_counter() - started
        choice, usage = completion.choices[0], completion.usage or _Usage()
        self._completion_tokens += usage.completion_tokens
        content, calls = _read(choice.message, request)
        return ChatReply(
            content=content,
            tool_calls=calls,
            finish_reason=_finish_reason(choice.finish_reason, calls),
            usage=ChatUsage(
                prompt_tokens=usage.prompt_tokens, completion_tokens=usage.completion_tokens
            ),
            processing_seconds=time.perf_counter() - started,
        )

    def _body(self, request: ChatRequest) -> dict[str, Any]:
        messages = request.messages
        if request.max_prompt_tokens is not None:
            tools = sum(_estimate(tool.model_dump_json()) for tool in request.tools)
            messages = fit_messages(
                messages, budget=request.max_prompt_tokens - tools, count=_estimated_tokens
            )
        body: dict[str, Any] = {
            "model": request.model or self._settings.model,
            "messages": [as_openai_message(message, arguments="text") for message in messages],
            "temperature": request.temperature,
            "max_tokens": min(request.max_tokens, self._settings.max_tokens),
        }
        if request.top_p < 1:
            body["top_p"] = request.top_p
        if request.seed is not None:
            body["seed"] = request.seed
        if request.stop:
            body["stop"] = list(request.stop)
        if request.tools:
            body["tools"] = [as_openai_tool(tool) for tool in request.tools]
        return body

    async def _complete_patiently(self, body: Mapping[str, Any], *, started: float) -> _Completion:
        for attempt in range(self._settings.retries + 1):
            try:
                return await self._complete(body)
            except EngineUnavailableError as error:
                backoff = self._settings.retry_base_s * 2**attempt
                wait_s = max(error.retry_after or 0.0, self._chance.uniform(0, backoff))
                left_s = self._settings.timeout_s - (time.perf_counter() - started)
                # After a time limit the server is still at work: asking again would double it.
                slow = isinstance(error.__cause__, httpx2.ReadTimeout)
                last = attempt == self._settings.retries
                if last or slow or wait_s > min(MAX_RETRY_WAIT_S, left_s):
                    raise
                log.info("chat_server_asked_again", error=str(error), wait_s=round(wait_s, 2))
            await asyncio.sleep(wait_s)
        raise EngineUnavailableError("the chat server gave no answer")

    async def _complete(self, body: Mapping[str, Any]) -> _Completion:
        refused = self._refused.get(body["model"], frozenset())
        try:
            response = await self._client.post(
                "chat/completions", json=_without(body, refused=refused)
            )
        except httpx2.TransportError as error:
            raise EngineUnavailableError(
                f"the chat server can't be reached: {type(error).__name__}"
            ) from error
        status = response.status_code
        if status in (408, 409, 425, 429) or status >= 500:
            raise EngineUnavailableError(
                f"the chat server answered {status}",
                retry_after=retry_after(response.headers.get("retry-after")),
            )
        if status == 400:
            parameter = _unsupported(response)
            if parameter is not None and parameter in body and parameter not in refused:
                self._refused[body["model"]] = refused | {parameter}
                log.info("chat_parameter_refused", model=body["model"], parameter=parameter)
                return await self._complete(body)
        if status != 200:
            raise InferenceError(
                f"the chat server refused with {status}: {response.text[:MAX_ERROR_CHARS]}"
            )
        try:
            return _Completion.model_validate_json(response.content)
        except ValidationError as error:
            raise InferenceError(
                f"the chat server's answer is no chat completion ({error.error_count()} errors)"
            ) from error


def _without(body: Mapping[str, Any], *, refused: frozenset[str]) -> dict[str, Any]:
    return {
        RENAMED[name] if name in RENAMED and name in refused else name: value
        for name, value in body.items()
        if name not in refused or name in RENAMED
    }


def _unsupported(response: httpx2.Response) -> str | None:
    """The parameter that a refusal is about, if the request can do without it: OpenAI's errors name it."""
    try:
        parameter = response.json()["error"]["param"]
    except (ValueError, KeyError, TypeError):
        return None
    return parameter if parameter in RENAMED or parameter in LEFT_OUT else None


def retry_after(header: str | None) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or an HTTP date; None if neither."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        try:
            at = parsedate_to_datetime(header)
        except ValueError:
            return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return max(0.0, (at - datetime.now(UTC)).total_seconds())


def _read(message: _Message, request: ChatRequest) -> tuple[str, tuple[ToolCall, ...]]:
    """Servers started without a tool-call parser leave the model's markup, or its bare JSON, in the text."""
    request_id = request.request_id
    parsed = parse_reply(message.content or "", tools={tool.name for tool in request.tools})
    wanted: list[tuple[str, dict[str, object]]] = []
    unreadable = parsed.unreadable
    for call in message.tool_calls or ():
        arguments = read_arguments(call.function.arguments or {})
        if arguments is None:
            unreadable += 1
        else:
            wanted.append((call.function.name, arguments))
    found = wanted or list(parsed.calls)
    if unreadable:
        log.warning("tool_call_unreadable", request_id=request_id)
        if not found and not parsed.content:
            raise InferenceError("the model wrote nothing but a tool call that can't be read")
    return parsed.content, tuple(
        ToolCall(id=f"{request_id}/{index}", name=name, arguments=arguments)
        for index, (name, arguments) in enumerate(found)
    )


def _finish_reason(
    reason: str | None, calls: Sequence[ToolCall]
) -> Literal["stop", "length", "tool_calls"]:
    if calls:
        return "tool_calls"
    return "length" if reason == "length" else "stop"


def _estimated_tokens(messages: Sequence[ChatMessage]) -> int:
    return sum(
        MESSAGE_TOKENS
        + _estimate(message.content)
        + sum(_estimate(call.model_dump_json()) for call in message.tool_calls)
        for message in messages
    )


def _estimate(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
