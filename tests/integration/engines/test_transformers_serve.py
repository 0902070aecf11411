"""The OpenAI-compatible engine against a server that isn't ours: `transformers serve` with the demo model."""

import asyncio
import sys
from pathlib import Path

import pytest

from serve_app.engines.openai_compatible import OpenAICompatibleEngine
from serve_app.settings import ChatSettings
from tests.integration.engines.model_servers import MODEL, TOOLS, ask, running

pytestmark = pytest.mark.integration


async def test_words_tools_limits_and_usage(unused_tcp_port, tmp_path):
    command = [
        *(Path(sys.executable).with_name("transformers"), "serve", str(MODEL)),
        *("--host", "127.0.0.1", "--port", str(unused_tcp_port), "--device", "cpu"),
    ]
    async with running(command, port=unused_tcp_port, log=tmp_path / "serve.log") as url:
        settings = ChatSettings(engine="openai", model=str(MODEL), base_url=url, timeout_s=60)
        engine = OpenAICompatibleEngine(settings=settings)
        await engine.start()
        try:
            hello, price, cut = await asyncio.gather(
                engine.chat(ask("hello")),
                engine.chat(ask("how much is the flat white?", tools=TOOLS)),
                engine.chat(ask("hello", max_tokens=3)),
            )
        finally:
            await engine.stop()
    assert hello.content
    assert (hello.finish_reason, hello.tool_calls) == ("stop", ())
    assert hello.usage.prompt_tokens > 0
    assert hello.usage.completion_tokens > 0
    [call] = price.tool_calls
    assert (call.name, call.arguments) == ("menu", {"item": "flat white"})
    assert price.finish_reason == "tool_calls"
    assert (cut.finish_reason, cut.usage.completion_tokens) == ("length", 3)
    assert hello.content.startswith(cut.content)
