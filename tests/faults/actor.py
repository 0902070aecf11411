"""One process of the product under test: ingress, worker or sender as shipped, or the simulator.

Worker and sender are opened by `serve_app.bootstrap` as a replica opens them, less Ray, with a model that
answers at once; what they are given is watched (`tests.faults.watch`). SIGTERM drains.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

import uvicorn
import uvloop
from pydantic import SecretStr

from deployments.background import BackgroundLoops
from models.errors import EngineUnavailableError
from models.inference import ChatReply, ChatRequest
from serve_app import bootstrap
from serve_app.api.application import create_app
from serve_app.bootstrap import sender, worker
from serve_app.clock import SystemClock
from serve_app.ops.logging import configure_logging
from serve_app.settings import AppSettings
from serve_app.simulator.app import create_simulator
from serve_app.simulator.settings import SimulatorSettings
from serve_app.testing.engines import FixedTranscriber
from tests.faults.traffic import OGG
from tests.faults.watch import Journal, Orders, Watched

SETTLING = ("complete", "retry", "snooze", "release", "dead_letter", "heartbeat")


@dataclass(frozen=True)
class Part:
    """What a process is told. `folder` is the row's; `clock_s` is added to the wall clock."""

    role: str
    name: str
    folder: Path
    environment: dict[str, str]
    settings: dict[str, Any]
    port: int = 0
    think_s: float = 0.0
    clock_s: float = 0.0
    simulator: dict[str, Any] = field(default_factory=dict)


def play(part: Part) -> None:
    """The process's whole life."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no orphans
    log = os.open(part.folder / f"{part.name}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    for name in [name for name in os.environ if name.startswith("RECADO_")]:
        del os.environ[name]
    os.environ.update(part.environment)
    settings = AppSettings.model_validate(part.settings)
    configure_logging(settings.log, service=part.role)
    roles = {"ingress": _ingress, "worker": _worker, "sender": _sender, "simulator": _simulator}
    uvloop.run(roles[part.role](part, settings))


async def _ingress(part: Part, settings: AppSettings) -> None:
    app = create_app(lambda: bootstrap.open_ingress(settings, checks={}))
    await _serve(app, part.port)


async def _simulator(part: Part, settings: AppSettings) -> None:
    options = {**part.simulator, "auth_token": SecretStr(part.simulator["auth_token"])}
    await _serve(create_simulator(SimulatorSettings(**options)), part.port)


async def _serve(app: Any, port: int) -> None:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    await uvicorn.Server(config).serve(sockets=[listener])


async def _worker(part: Part, settings: AppSettings) -> None:
    journal = Journal(part.folder / "journals" / f"{part.name}-{os.getpid()}.jsonl")
    transcriber = FixedTranscriber(lambda request: request.audio.removeprefix(OGG).decode())
    model = Echo(part, journal)
    with _watched(part, journal):
        async with bootstrap.open_worker(
            settings, transcriber=transcriber, chat_model=model
        ) as parts:
            await _until_told(BackgroundLoops(parts.consumer))


async def _sender(part: Part, settings: AppSettings) -> None:
    journal = Journal(part.folder / "journals" / f"{part.name}-{os.getpid()}.jsonl")
    with _watched(part, journal):
        async with bootstrap.open_sender(settings) as parts:
            await _until_told(BackgroundLoops(parts.outbound, parts.status, loops=(parts.sweep,)))


async def _until_told(loops: BackgroundLoops) -> None:
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    loops.start()
    await told.wait()
    await loops.stop()


def _watched(part: Part, journal: Journal) -> ExitStack:
    """Has `bootstrap` introduce watched stores and channels, and a clock that may be wrong."""
    orders = Orders(part.folder / "orders")
    open_stores, open_channels = worker.open_stores, worker.open_channels

    def watch(target: object, *noted: str, **points: str) -> Any:
        return Watched(target, orders=orders, journal=journal, points=points, noted=noted)

    @asynccontextmanager
    async def stores(*args: Any) -> AsyncGenerator[bootstrap.Stores]:
        async with open_stores(*args) as opened:
            yield replace(
                opened,
                inbound=watch(opened.inbound, "take", "reclaim", *SETTLING, take="after-take"),
                outbound=watch(opened.outbound, take="after-outbound-take"),
                conversations=watch(
                    opened.conversations,
                    save_transcript="after-transcript",
                    commit_turn="after-commit",
                ),
                replies=watch(opened.replies, mark_sending="before-post", mark_sent="after-record"),
            )

    @asynccontextmanager
    async def channels(*args: Any, **kwargs: Any) -> AsyncGenerator[dict[str, Any]]:
        async with open_channels(*args, **kwargs) as opened:
            yield {name: watch(channel, send="after-post") for name, channel in opened.items()}

    stack = ExitStack()
    for replica in (worker, sender):
        stack.enter_context(patch.object(replica, "open_stores", stores))
        stack.enter_context(patch.object(replica, "open_channels", channels))
        stack.enter_context(patch.object(replica, "SystemClock", lambda: WrongClock(part.clock_s)))
    return stack


class WrongClock(SystemClock):
    def __init__(self, off_by_s: float) -> None:
        self._off_by = timedelta(seconds=off_by_s)

    def now(self) -> datetime:
        return super().now() + self._off_by


class Echo:
    """Says back what the contact wrote in this turn. A message may ask for more: `slow=2` takes two
    seconds, `later=3` is an engine that asks to be tried again in three, once; `boom` ends the process."""

    def __init__(self, part: Part, journal: Journal) -> None:
        self._part = part
        self._journal = journal

    async def chat(self, request: ChatRequest) -> ChatReply:
        said: list[str] = []
        for message in reversed(request.messages):
            if message.role != "user":
                break
            said.append(message.content)
        text = " / ".join(reversed(said))
        self._journal.write("chat", text=text)
        if " boom" in text:
            os.kill(os.getpid(), signal.SIGKILL)
        for token, seconds in re.findall(r"(\S+) later=([\d.]+)", text):
            self._once(token, lambda wait=float(seconds): _ask_to_wait(wait))
        slow = max((float(s) for s in re.findall(r"slow=([\d.]+)", text)), default=0.0)
        await asyncio.sleep(self._part.think_s + slow)
        return ChatReply(content=f"You said: {text}")

    def _once(self, token: str, act: Callable[[], None]) -> None:
        """Across all processes of the row."""
        marker = self._part.folder / f"once-{token}"
        try:
            marker.touch(exist_ok=False)
        except FileExistsError:
            return
        act()


def _ask_to_wait(seconds: float) -> None:
    raise EngineUnavailableError("the engine asks for patience", retry_after=seconds)
