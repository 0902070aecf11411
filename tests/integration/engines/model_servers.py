"""Servers that aren't ours, as processes of their own, with the demo chat model."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2

from models.inference import ChatMessage, ChatRequest, ToolSpec
from serve_app.settings import PROJECT_ROOT

MODEL = PROJECT_ROOT / "demo" / "models" / "chat"
PARAMETERS = {
    "menu": {"item": "string"},
    "opening_hours": {"day": "string"},
    "book_table": {"people": "integer", "day": "string", "time": "string"},
}
TOOLS = tuple(
    ToolSpec(
        name=name,
        description=name,
        parameters={
            "type": "object",
            "properties": {key: {"type": kind} for key, kind in parameters.items()},
        },
    )
    for name, parameters in PARAMETERS.items()
)
"""llama.cpp lets a model write only what a tool declares."""


@asynccontextmanager
async def running(command: Sequence[str | Path], *, port: int, log: Path) -> AsyncIterator[str]:
    """The address to give an engine, once the server says that it is healthy."""
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdout=out,
            stderr=out,
            env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
        )
        url = f"http://127.0.0.1:{port}"
        try:
            async with asyncio.timeout(90), httpx2.AsyncClient() as client:
                while True:
                    assert process.returncode is None, told(log)
                    try:
                        if (await client.get(f"{url}/health", timeout=2)).status_code == 200:
                            break
                    except httpx2.TransportError:
                        pass
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


def told(log: Path) -> str:
    return log.read_text()


def ask(text: str, **options) -> ChatRequest:
    message = ChatMessage(role="user", content=text)
    return ChatRequest(request_id=text, messages=(message,), **options)
