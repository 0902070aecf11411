"""The demo chat model: tools, budgets, mixed batches."""

import asyncio

import pytest

from models.errors import InferenceError
from models.inference import ChatMessage, ChatRequest, ToolCall
from serve_app.engines.registry import create_chat_engine
from serve_app.settings import ChatSettings

ASKED = {
    "what are your opening hours on saturday?": ("opening_hours", {"day": "saturday"}),
    "how much is the flat white?": ("menu", {"item": "flat white"}),
    "table for four on friday at seven please": (
        "book_table",
        {"people": 4, "day": "friday", "time": "19:00"},
    ),
    "[voice note] What is your phone number?": ("business_info", {"topic": "phone"}),
    "can I talk to a person?": ("hand_over", {"reason": "asked"}),
}


@pytest.fixture
async def engine():
    engine = create_chat_engine(ChatSettings(), device="cpu")
    await engine.start()
    yield engine
    await engine.stop()


def user(text: str) -> ChatMessage:
    return ChatMessage(role="user", content=text)


def ask(*messages: ChatMessage, **options) -> ChatRequest:
    return ChatRequest(request_id="turn:0", messages=messages, **options)


async def test_tools_are_chosen_in_one_batch(engine):
    replies = await asyncio.gather(*(engine.chat(ask(user(text))) for text in ASKED))
    for reply, (name, arguments) in zip(replies, ASKED.values(), strict=True):
        [call] = reply.tool_calls
        assert (call.name, call.arguments) == (name, arguments)
        assert reply.finish_reason == "tool_calls"
        assert reply.content == ""
        assert reply.batch_size == len(ASKED)
        assert reply.usage.prompt_tokens > 0
        assert reply.usage.completion_tokens > 5
    assert engine.stats().work_done > 0


async def test_a_tools_result_is_told_in_words_without_marks(engine):
    call = ToolCall(id="call-0-0", name="opening_hours", arguments={"day": "saturday"})
    result = '{"day": "saturday", "open": "09:00", "close": "16:30"}'
    reply = await engine.chat(
        ask(
            ChatMessage(role="system", content="You answer for a café."),
            user("opening hours on saturday?"),
            ChatMessage(role="assistant", tool_calls=(call,)),
            ChatMessage(role="tool", content=result, tool_call_id=call.id, name=call.name),
        )
    )
    assert reply.content == "On Saturday we are open from 09:00 to 16:30."
    assert (reply.finish_reason, reply.tool_calls) == ("stop", ())


async def test_each_row_ends_at_its_own_limit(engine):
    short, whole = await asyncio.gather(
        engine.chat(ask(user("hello"), max_tokens=3)), engine.chat(ask(user("hello")))
    )
    assert short.batch_size == whole.batch_size == 2
    assert short.usage.completion_tokens == 3
    assert short.finish_reason == "length"
    assert whole.finish_reason == "stop"
    assert whole.content.startswith(short.content)


async def test_every_row_is_drawn_by_its_own_wishes_in_one_batch(engine):
    greedy, again, warm, same, cold = await asyncio.gather(
        engine.chat(ask(user("hello"))),
        engine.chat(ask(user("hello"), temperature=1e-4)),
        engine.chat(ask(user("hello"), temperature=1.5, seed=11)),
        engine.chat(ask(user("hello"), temperature=1.5, seed=11)),
        engine.chat(ask(user("hello"), temperature=1.5, top_p=1e-6)),
    )
    assert {reply.batch_size for reply in (greedy, again, warm, same, cold)} == {5}
    assert greedy.content == again.content == cold.content
    assert warm.content == same.content != greedy.content
    alone = await engine.chat(ask(user("hello"), temperature=1.5, seed=11))
    assert alone.content == warm.content


async def test_a_reply_ends_at_its_stop_text_and_its_neighbour_goes_on(engine):
    whole = (await engine.chat(ask(user("hello")))).content
    stop = whole[len(whole) // 2 :][:5]
    cut, other = await asyncio.gather(
        engine.chat(ask(user("hello"), stop=("\n\n\n", stop))), engine.chat(ask(user("hello")))
    )
    assert cut.content == whole[: whole.index(stop)].strip()
    assert (cut.finish_reason, other.content) == ("stop", whole)
    assert cut.usage.completion_tokens < other.usage.completion_tokens


async def test_a_reply_that_nobody_waits_for_ends(engine):
    task = asyncio.create_task(engine.chat(ask(user("hello"), max_tokens=256, temperature=5.0)))
    while engine.stats().running == 0:  # noqa: ASYNC110 - the engine has no event for it
        await asyncio.sleep(0.001)
    task.cancel()
    async with asyncio.timeout(10):
        while engine.stats().running:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert engine.stats().work_done == 0


async def test_the_oldest_messages_leave_a_prompt_over_its_budget(engine):
    latest = user("how much is the flat white?")
    alone = await engine.chat(ask(latest))
    history = [user("hello"), ChatMessage(role="assistant", content="Hello! How can I help?")] * 30
    whole = await engine.chat(ask(*history, latest))
    cut = await engine.chat(ask(*history, latest, max_prompt_tokens=alone.usage.prompt_tokens + 40))
    assert whole.usage.prompt_tokens > 300
    assert alone.usage.prompt_tokens < cut.usage.prompt_tokens
    assert cut.usage.prompt_tokens <= alone.usage.prompt_tokens + 40
    assert cut.tool_calls[0].arguments == {"item": "flat white"}


async def test_a_message_longer_than_the_model_is_refused_and_its_neighbour_answered(engine):
    long, fine = await asyncio.gather(
        engine.chat(ask(user("word " * 3000))),
        engine.chat(ask(user("hello"))),
        return_exceptions=True,
    )
    assert isinstance(long, InferenceError)
    assert "too long" in str(long)
    assert fine.content
    assert engine.stats().failures == 1
