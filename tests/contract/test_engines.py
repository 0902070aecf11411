"""One suite for every engine: the local models, a remote server, and the fakes shipped for tests.

Callers may rely on: concurrent requests get what they would get alone; overload, cancellation and
stopping are `EngineUnavailableError`; counters count; an engine survives all of it.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from models.errors import EngineUnavailableError
from models.inference import ChatMessage, ChatRequest, TranscriptionRequest
from serve_app.engines.openai_compatible import OpenAICompatibleEngine
from serve_app.engines.registry import create_chat_engine, create_speech_engine
from serve_app.settings import PROJECT_ROOT, ChatSettings, SpeechSettings
from serve_app.testing.engines import FixedTranscriber, ScriptedChatModel

NOTES = PROJECT_ROOT / "demo" / "voice-notes"
QUESTIONS = ["hello", "how much is the scone?", "are you open on friday?", "where are you?"]
CLIPS = ["open-sunday", "thanks", "where", "silence"]


@dataclass
class Subject:
    """An engine and how to ask it: `ask(id, n)` is the n-th of a few different questions."""

    engine: Any
    ask: Callable[[str, int], Coroutine[Any, Any, object]]


def chat(engine) -> Subject:
    async def ask(request_id: str, n: int) -> object:
        message = ChatMessage(role="user", content=QUESTIONS[n % len(QUESTIONS)])
        reply = await engine.chat(ChatRequest(request_id=request_id, messages=(message,)))
        return reply.content, [(call.name, call.arguments) for call in reply.tool_calls]

    return Subject(engine, ask)


def speech(engine) -> Subject:
    async def ask(request_id: str, n: int) -> object:
        audio = (NOTES / f"{CLIPS[n % len(CLIPS)]}.ogg").read_bytes()
        return (
            await engine.transcribe(TranscriptionRequest(request_id=request_id, audio=audio))
        ).text

    return Subject(engine, ask)


async def echo(request: httpx2.Request) -> httpx2.Response:
    if request.method == "GET":
        return httpx2.Response(200, json={"data": []})
    await asyncio.sleep(0.02)
    said = json.loads(request.content)["messages"][-1]["content"]
    return httpx2.Response(
        200,
        json={
            "choices": [{"message": {"content": said.upper()}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        },
    )


def make(kind: str, *, max_waiting: int = 256, max_batch_size: int = 4) -> Subject:
    limits = {"max_waiting": max_waiting, "max_batch_size": max_batch_size}
    match kind:
        case "scripted":
            return chat(
                ScriptedChatModel(
                    lambda request: request.messages[-1].content.upper(),
                    delay_s=0.02,
                    max_waiting=max_waiting,
                )
            )
        case "fixed":
            return speech(
                FixedTranscriber(
                    lambda request: str(len(request.audio)), delay_s=0.02, max_waiting=max_waiting
                )
            )
        case "openai":
            settings = ChatSettings(engine="openai", base_url="http://models.test/v1", **limits)
            transport = httpx2.MockTransport(echo)
            return chat(OpenAICompatibleEngine(settings=settings, transport=transport))
        case "demo-chat":
            return chat(create_chat_engine(ChatSettings(**limits), device="cpu"))
        case _:
            short = SpeechSettings(
                engine="faster-whisper" if kind == "demo-speech" else "transformers",
                short_windows_s=(15,),
                batches_in_flight=1,
                **limits,
            )
            return speech(create_speech_engine(short, device="cpu"))


@pytest.fixture(params=["scripted", "fixed", "openai", "demo-chat", "demo-speech", "demo-torch"])
def kind(request) -> str:
    return request.param


@pytest.fixture
async def subject(kind):
    subject = make(kind)
    await subject.engine.start()
    yield subject
    await subject.engine.stop()


async def test_concurrent_requests_get_what_they_get_alone(subject):
    alone = [await subject.ask(f"alone-{n}", n) for n in range(4)]
    together = await asyncio.gather(*(subject.ask(f"together-{n}", n) for n in range(12)))
    assert together == alone * 3
    assert len({str(answer) for answer in alone}) == 4


async def test_counters_count(subject):
    before = subject.engine.stats()
    assert before.requests == before.work_done == 0
    await asyncio.gather(*(subject.ask(str(n), n) for n in range(3)))
    stats = subject.engine.stats()
    assert stats.requests == 3
    assert stats.rows >= stats.batches > 0
    assert stats.work_done > 0 or isinstance(subject.engine, ScriptedChatModel)
    assert (stats.waiting, stats.running, stats.failures) == (0, 0, 0)
    assert stats.engine
    assert stats.model
    assert stats.device


async def test_a_request_cancelled_by_id_ends_and_its_neighbours_do_not(subject):
    doomed = asyncio.create_task(subject.ask("doomed", 0))
    neighbour = asyncio.create_task(subject.ask("neighbour", 1))
    await asyncio.sleep(0.001)
    await subject.engine.cancel("doomed")
    with pytest.raises(EngineUnavailableError, match="cancelled"):
        await doomed
    assert await neighbour == await subject.ask("again", 1)
    assert subject.engine.stats().failures == 0


async def test_a_cancelled_caller_stays_cancelled_and_the_engine_goes_on(subject):
    doomed = asyncio.create_task(subject.ask("doomed", 0))
    await asyncio.sleep(0.001)
    doomed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doomed
    assert await subject.ask("next", 1) is not None
    assert subject.engine.stats().running == 0


async def test_cancelling_what_is_unknown_or_done_is_nothing(subject):
    await subject.engine.cancel("nobody")
    answer = await subject.ask("done", 1)
    await subject.engine.cancel("done")
    assert await subject.ask("done", 1) == answer


async def test_overload_is_refused_and_passes(kind):
    subject = make(kind, max_waiting=2, max_batch_size=1)
    await subject.engine.start()
    try:
        results = await asyncio.gather(
            *(subject.ask(str(n), n) for n in range(12)), return_exceptions=True
        )
        refused = [result for result in results if isinstance(result, BaseException)]
        assert 0 < len(refused) < 12
        assert {type(error) for error in refused} == {EngineUnavailableError}
        assert all(error.retry_after for error in refused)
        assert await subject.ask("later", 1) is not None
    finally:
        await subject.engine.stop()


async def test_stopping_answers_or_fails_everyone_and_admits_nobody(kind):
    subject = make(kind, max_batch_size=1)
    await subject.engine.start()
    asked = [asyncio.create_task(subject.ask(str(n), n)) for n in range(8)]
    await asyncio.sleep(0)
    await asyncio.wait_for(subject.engine.stop(), timeout=30)
    results = await asyncio.gather(*asked, return_exceptions=True)
    errors = [result for result in results if isinstance(result, BaseException)]
    assert {type(error) for error in errors} <= {EngineUnavailableError}
    assert errors or kind == "openai", "waiting requests should have failed"
    with pytest.raises(EngineUnavailableError):
        await subject.ask("late", 0)
    assert subject.engine.stats().running == 0


@pytest.mark.parametrize(
    "kind", ["openai", "demo-chat", "demo-speech", "demo-torch"], indirect=True
)
async def test_an_engine_that_has_not_started_is_unavailable(kind):
    subject = make(kind)
    with pytest.raises(EngineUnavailableError, match="not running"):
        await subject.ask("early", 0)
    await subject.engine.stop()
