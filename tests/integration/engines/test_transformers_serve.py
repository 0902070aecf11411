"""The OpenAI-compatible engine against a server that isn't ours: `transformers serve` with the demo model."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from models.inference import ChatMessage, ChatRequest, ToolSpec
from serve_app.engines.openai_compatible import OpenAICompatibleEngine
from serve_app.settings import PROJECT_ROOT, ChatSettings

pytestmark = pytest.mark.integration

MODEL = PROJECT_ROOT / "demo" / "models" / "chat"
TOOLS = tuple(
    ToolSpec(name=name, description=name, parameters={"type": "object", "properties": {}})
    for name in ("menu", "opening_hours")
)


@pytest.fixture
async def served(unused_tcp_port, tmp_path):
    log = (tmp_path / "serve.log").open("wb")
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("transformers"),
        "serve",
        str(MODEL),
        *("--host", "127.0.0.1", "--port", str(unused_tcp_port), "--device", "cpu"),
        stdout=log,
        stderr=log,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    url = f"http://127.0.0.1:{unused_tcp_port}"
    try:
        async with asyncio.timeout(90), httpx.AsyncClient() as client:
            while True:
                assert process.returncode is None, (tmp_path / "serve.log").read_text()
                try:
                    if (await client.get(f"{url}/health", timeout=2)).status_code == 200:
                        break
                except httpx.TransportError:
                    await asyncio.sleep(0.1)
        yield f"{url}/v1"
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), timeout=15)
            except TimeoutError:
                process.kill()
                await process.wait()
        log.close()


def ask(text: str, **options) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(request_id=text, messages=(message,), **options)


async def test_words_tools_limits_and_usage(served):
    settings = ChatSettings(engine="openai", model=str(MODEL), base_url=served, timeout_s=60)
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
