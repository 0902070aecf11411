"""A worker or a sender of the turn benchmark, without Ray: `… turn_process worker|sender`.

Works until its standard input is closed.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop

from deployments.background import BackgroundLoops
from models.inference import ChatRequest, ToolCall
from serve_app.bootstrap import open_sender, open_worker
from serve_app.cli.bench.turn import settings
from serve_app.ops.logging import configure_logging
from serve_app.testing.engines import FixedTranscriber, ScriptedChatModel


def answer(request: ChatRequest) -> str | ToolCall:
    """One tool call and then the answer, as a model would."""
    if request.messages[-1].role == "tool":
        return "On Saturday we are open from 09:00 to 16:30."
    return ToolCall(id="1", name="opening_hours", arguments={"day": "saturday"})


async def work(role: str) -> None:
    configure_logging(settings().log, service=role)
    if role == "worker":
        async with open_worker(
            settings(), transcriber=FixedTranscriber("hello"), chat_model=ScriptedChatModel(answer)
        ) as parts:
            await _until_closed(BackgroundLoops(parts.consumer))
    else:
        async with open_sender(settings()) as sender:
            await _until_closed(BackgroundLoops(sender.outbound, sender.status))


async def _until_closed(loops: BackgroundLoops) -> None:
    loops.start()
    # A thread of its own: reading standard input can't be cancelled.
    await asyncio.to_thread(sys.stdin.read)
    await loops.stop()


if __name__ == "__main__":
    uvloop.run(work(sys.argv[1]))
