"""transformers' continuous batching behind the chat engine, on a CPU: slow there, and the same replies."""

import asyncio

import pytest

from models.errors import EngineUnavailableError
from models.inference import ChatMessage, ChatRequest
from serve_app.engines.registry import create_chat_engine
from serve_app.settings import ChatSettings

QUESTIONS = ["hello", "how much is the flat white?", "are you open on friday?"]


@pytest.fixture
async def start():
    engines = []

    async def start(**settings):
        # Nine tenths of the free memory, as on a GPU, would take long to fill with zeros.
        chat = ChatSettings(cache_memory_share=0.1, **settings)
        engine = create_chat_engine(chat, device="cpu")
        engines.append(engine)
        await engine.start()
        return engine

    yield start
    for engine in engines:
        await engine.stop()


def ask(text: str, **options) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(request_id=options.pop("request_id", text), messages=(message,), **options)


def said(reply):
    return reply.content, [(call.name, call.arguments) for call in reply.tool_calls]


async def test_continuous_batches_say_what_dynamic_ones_say(start):
    dynamic, continuous = await start(), await start(batching="continuous")
    expected = [said(await dynamic.chat(ask(text))) for text in QUESTIONS]
    alone = [said(await continuous.chat(ask(text))) for text in QUESTIONS]
    together = await asyncio.gather(*(continuous.chat(ask(text)) for text in QUESTIONS))
    assert alone == expected
    assert [said(reply) for reply in together] == expected
    assert max(reply.batch_size for reply in together) > 1
    stats = continuous.stats()
    assert (stats.requests, stats.running, stats.failures) == (6, 0, 0)
    assert stats.work_done > 0


async def test_limits_stops_wishes_and_cancellation(start):
    engine = await start(batching="continuous")
    whole = (await engine.chat(ask("hello"))).content
    stop = whole[len(whole) // 2 :][:5]
    doomed = asyncio.create_task(engine.chat(ask("hello", request_id="doomed", max_tokens=200)))
    while engine.stats().running == 0:  # noqa: ASYNC110 - the engine has no event for it
        await asyncio.sleep(0)
    await engine.cancel("doomed")
    short, stopped, warm, cold = await asyncio.gather(
        engine.chat(ask("hello", max_tokens=3)),
        engine.chat(ask("hello", stop=(stop,))),
        engine.chat(ask("hello", temperature=1.5)),
        engine.chat(ask("hello", temperature=1.5, top_p=1e-6)),
    )
    with pytest.raises(EngineUnavailableError, match="cancelled"):
        await doomed
    assert (short.finish_reason, short.usage.completion_tokens) == ("length", 3)
    assert (stopped.content, stopped.finish_reason) == (whole[: whole.index(stop)].strip(), "stop")
    assert warm.content
    assert cold.content == whole
    assert engine.stats().running == 0


async def test_greedy_only_ignores_temperatures(start):
    engine = await start(batching="continuous", sampling=False)
    plain, warm = await asyncio.gather(
        engine.chat(ask("hello")), engine.chat(ask("hello", temperature=2.0))
    )
    assert plain.content == warm.content


async def test_a_loop_that_an_error_ended_is_started_anew(start):
    engine = await start(batching="continuous")
    expected = said(await engine.chat(ask("hello")))
    engine._continuous.stop()
    replies = await asyncio.gather(*(engine.chat(ask("hello", request_id=n)) for n in "abc"))
    assert [said(reply) for reply in replies] == [expected] * 3
