"""The OpenAI-compatible engine against llama.cpp's server, with the demo model's weights in its form."""

import asyncio
import sys
from pathlib import Path

import pytest

from models.errors import InferenceError
from models.inference import ChatMessage, ToolCall
from serve_app.engines.registry import create_chat_engine
from serve_app.settings import ChatSettings
from tests.integration.engines.model_servers import MODEL, TOOLS, ask, running

pytest.importorskip("xllamacpp", reason="llama.cpp's server comes with the test extra on Linux")

pytestmark = pytest.mark.integration

SERVER = Path(__file__).with_name("llama_server.py")


@pytest.fixture
async def served(unused_tcp_port, tmp_path):
    from tests.integration.engines.demo_gguf import write

    write(MODEL, tmp_path / "demo.gguf")
    command = [sys.executable, SERVER, tmp_path / "demo.gguf", str(unused_tcp_port)]
    async with running(command, port=unused_tcp_port, log=tmp_path / "server.log") as url:
        yield url


async def test_it_answers_as_our_own_engine_does_with_the_same_weights(served):
    asked = [
        ask("hello"),
        ask("how much is the flat white?", tools=TOOLS),
        ask("what are your opening hours on saturday?", tools=TOOLS),
        ask("table for four on friday at seven please", tools=TOOLS),
        ask("thanks", max_tokens=3),
    ]
    told = ToolCall(id="call-0", name="opening_hours", arguments={"day": "saturday"})
    result = '{"day": "saturday", "open": "09:00", "close": "16:30"}'
    asked.append(
        asked[2].model_copy(
            update={
                "messages": (
                    *asked[2].messages,
                    ChatMessage(role="assistant", tool_calls=(told,)),
                    ChatMessage(role="tool", content=result, tool_call_id=told.id, name=told.name),
                )
            }
        )
    )
    replies = {}
    for name, settings in {
        "ours": ChatSettings(),
        "llama.cpp": ChatSettings(engine="openai", model="demo", base_url=served, timeout_s=60),
    }.items():
        engine = create_chat_engine(settings, device="cpu")
        await engine.start()
        try:
            replies[name] = await asyncio.gather(*(engine.chat(each) for each in asked))
        finally:
            await engine.stop()
    for ours, theirs in zip(replies["ours"], replies["llama.cpp"], strict=True):
        assert theirs.content == ours.content
        assert [(c.name, c.arguments) for c in theirs.tool_calls] == [
            (c.name, c.arguments) for c in ours.tool_calls
        ]
        assert theirs.finish_reason == ours.finish_reason
        assert theirs.usage == ours.usage
    assert replies["ours"][-1].content == "On Saturday we are open from 09:00 to 16:30."
    assert replies["ours"][-2].finish_reason == "length"


async def test_a_prompt_that_does_not_fit_is_refused_for_good(served):
    settings = ChatSettings(engine="openai", model="demo", base_url=served, timeout_s=60)
    engine = create_chat_engine(settings, device="cpu")
    await engine.start()
    try:
        with pytest.raises(InferenceError, match="refused with 400"):
            await engine.chat(ask("word " * 9000))
    finally:
        await engine.stop()
