"""Sends the messages of a plan through the simulator, which signs and posts them as Twilio does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import httpx2

from serve_app.ops.load.arrivals import Burst, TrafficPlan, bursts
from serve_app.ops.load.ledger import Ledger
from serve_app.tasks import end_tasks

POLL_S = 5.0
"""How long one look for replies waits for the first."""
LOOKS_IN_VAIN = 3
"""So many failed looks in a row are an error. One is a connection that was closed just as it was used."""
MOST_WRITING = 256
"""People who write at the same time; more wait for their turn, and the run says that it fell behind."""


@dataclass(frozen=True, slots=True)
class Material:
    """What people say: texts, and voice notes as base64."""

    texts: Sequence[str]
    voice_notes: Sequence[str]


class Traffic:
    """One run. `numbers` are the owners' addresses."""

    def __init__(
        self,
        *,
        plan: TrafficPlan,
        http: httpx2.AsyncClient,
        numbers: Sequence[str],
        material: Material,
        ledger: Ledger,
    ) -> None:
        """`http`'s base address is the simulator's."""
        self._plan = plan
        self._http = http
        self._numbers = numbers
        self._material = material
        self._ledger = ledger
        self._random = Random(plan.seed + 1)  # noqa: S311 - traffic, no secret
        self._slots = asyncio.Semaphore(MOST_WRITING)
        self._cursor: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._read_to: int | None = None
        self._in_vain = 0
        self._began_at = time.time()
        self._prefix = f"whatsapp:+1777{plan.seed % 1000:03d}"
        self.behind_s = 0.0
        """The furthest that a message was sent after its time: above a second the generator, not the
        product, was the limit."""

    async def run(
        self, *, drain_s: float, quiet: Callable[[], Awaitable[bool]] | None = None
    ) -> None:
        """Sends everything, and waits at most `drain_s` for the last replies and until it is `quiet`: a reply
        may be on its way to somebody who has got one already."""
        reader = asyncio.create_task(self._read_replies())
        writers: set[asyncio.Task[None]] = set()
        try:
            began = time.monotonic()
            for burst in bursts(self._plan):
                wait = burst.at_s - (time.monotonic() - began)
                if wait > 0:
                    await asyncio.sleep(wait)
                await self._slots.acquire()
                self.behind_s = max(self.behind_s, time.monotonic() - began - burst.at_s)
                writer = asyncio.create_task(self._write(burst))
                writers.add(writer)
                writer.add_done_callback(writers.discard)
            if writers:
                await asyncio.wait(writers)
            deadline = time.monotonic() + drain_s
            while time.monotonic() < deadline and (
                self._ledger.open or (quiet is not None and not await quiet())
            ):
                if reader.done():
                    # Only by an error: without it nothing would count as answered.
                    reader.result()
                await asyncio.sleep(0.2)
        finally:
            await end_tasks([reader, *writers])
        if self._read_to is not None:
            await self._read_page(self._read_to, wait_s=0.0)

    async def _write(self, burst: Burst) -> None:
        person = f"{self._prefix}{burst.person:06d}"
        try:
            for number, voice in enumerate(burst.voice):
                if number:
                    await asyncio.sleep(burst.pauses_s[number - 1])
                await self._say(person, burst.owner, voice=voice)
        finally:
            self._slots.release()

    async def _say(self, person: str, owner: int, *, voice: bool) -> None:
        document: dict[str, Any] = {"from": person, "to": self._numbers[owner % len(self._numbers)]}
        if voice and self._material.voice_notes:
            note = self._random.choice(self._material.voice_notes)
            document["media"] = [{"content_base64": note, "content_type": "audio/ogg"}]
        else:
            document["body"] = self._random.choice(self._material.texts)
        sent = self._ledger.send(person, at=time.time(), voice=voice)
        try:
            answer = await self._http.post("/simulator/messages", json=document)
            answer.raise_for_status()
            told = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            self._ledger.failed(f"simulator: {type(error).__name__}", sent)
            return
        if not self._cursor.done():
            self._cursor.set_result(max(0, int(told["cursor"]) - 10 * MOST_WRITING))
        self._ledger.acknowledged(
            sent, status=told["webhook_status"], seconds=float(told["seconds"])
        )

    async def _read_replies(self) -> None:
        """Until cancelled; a look that fails is repeated. What was there before the run isn't read."""
        self._read_to = await self._cursor
        while True:
            fine = await self._read_page(self._read_to, wait_s=POLL_S)
            self._in_vain = 0 if fine else self._in_vain + 1
            # Many come at once: reading them one by one would cost the simulator more than sending.
            await asyncio.sleep(0.1 if fine else 0.5)

    async def _read_page(self, after: int, *, wait_s: float) -> bool:
        try:
            answer = await self._http.get(
                "/simulator/messages", params={"after": after, "wait_s": wait_s}
            )
            answer.raise_for_status()
            page = answer.json()
        except (httpx2.HTTPError, ValueError) as error:
            if self._in_vain + 1 >= LOOKS_IN_VAIN:
                self._ledger.failed(f"reading replies: {type(error).__name__}")
            return False
        self._read_to = max(after, int(page["cursor"]))
        for message in page["messages"]:
            at = float(message["at"])
            # An earlier run with the same seed had the same people.
            if at >= self._began_at and message["direction"] != "inbound":
                self._ledger.replied(message["to"], at=at)
        return True
