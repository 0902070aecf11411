"""People who write, through the simulator's signed webhooks, and the witness of what they are sent."""

from __future__ import annotations

import asyncio
import base64
import secrets
import time
from collections import Counter
from random import Random
from types import TracebackType
from typing import Self

import httpx2

from tests.faults.scoring import TOKEN, Answer, Posted

BUSINESS = "whatsapp:+14155550777"
"""No contact has it: theirs begin with +1555."""
RETRY_S = 0.25
OGG = b"OggS"
"""By which a voice note's file is known; here its words follow."""


def contact(number: int) -> str:
    return f"whatsapp:+1555{number:07d}"


class Traffic:
    """Everything posted and everything answered in one row. Use as a context: the witness watches inside it.

    With `question`, for a model that doesn't echo, every contact asks that once, and what a contact gets is
    taken as the answer to it.
    """

    def __init__(
        self, *, simulator: httpx2.AsyncClient, random: Random, question: str | None = None
    ) -> None:
        self._simulator = simulator
        self._random = random
        self._question = question
        self._gate = asyncio.Semaphore(48)
        self._witness: asyncio.Task[None] | None = None
        self._cursor = 0
        self._numbers: Counter[int] = Counter()
        self.posted: dict[str, Posted] = {}
        self.answers: list[Answer] = []
        self.answered: set[str] = set()

    async def __aenter__(self) -> Self:
        self._witness = asyncio.create_task(self._watch())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._witness is not None
        self._witness.cancel()
        await asyncio.gather(self._witness, return_exceptions=True)

    async def talk(
        self,
        *,
        messages: int,
        conversations: int,
        over_s: float,
        first: int = 0,
        voice_share: float = 0.0,
        wish: str = "",
        copies: int = 1,
        to: str = BUSINESS,
        patience_s: float = 120.0,
    ) -> None:
        """`messages` spread at random over conversations and time; one conversation's messages go out one
        after the other. What isn't accepted is posted again, as the provider would, for `patience_s`."""
        shares = [messages // conversations] * conversations
        for index in range(messages % conversations):
            shares[index] += 1
        await asyncio.gather(
            *(
                self._converse(
                    first + index,
                    times=sorted(self._random.uniform(0, over_s) for _ in range(share)),
                    voice_share=voice_share,
                    wish=wish,
                    copies=copies,
                    to=to,
                    patience_s=patience_s,
                )
                for index, share in enumerate(shares)
            )
        )

    async def _converse(
        self,
        number: int,
        *,
        times: list[float],
        voice_share: float,
        wish: str,
        copies: int,
        to: str,
        patience_s: float,
    ) -> None:
        begun = time.monotonic()
        for at in times:
            await asyncio.sleep(max(0.0, begun + at - time.monotonic()))
            await self.write(
                number,
                wish=wish,
                copies=copies,
                to=to,
                patience_s=patience_s,
                voice=self._random.random() < voice_share,
            )

    async def write(
        self,
        number: int,
        *,
        wish: str = "",
        voice: bool = False,
        copies: int = 1,
        to: str = BUSINESS,
        patience_s: float = 120.0,
    ) -> Posted:
        """One message of contact `number`, posted until it is accepted or patience ends."""
        token = f"c{number}-{self._numbers[number]:04d}"
        self._numbers[number] += 1
        message = self.posted[token] = Posted(token, contact(number), begun_at=time.time())
        text = self._question or f"{token} {wish}".strip()
        document: dict[str, object] = {
            "from": message.contact,
            "to": to,
            "body": "" if voice else text,
            "MessageSid": "SM" + secrets.token_hex(16),
            "copies": copies,
        }
        if voice:
            document["media"] = [{"content_base64": base64.b64encode(OGG + text.encode()).decode()}]
        deadline = time.monotonic() + patience_s
        while True:
            async with self._gate:
                status = await self._post(message, document)
            if status == 200:
                message.accepted_at = time.time()
                return message
            if time.monotonic() + RETRY_S > deadline:
                return message
            await asyncio.sleep(RETRY_S)

    async def _post(self, message: Posted, document: dict[str, object]) -> int | None:
        try:
            answer = await self._simulator.post("/simulator/messages", json=document)
        except httpx2.TransportError:
            # The way to the simulator, not its webhook; it has the same message's id if it posts it again.
            message.statuses.append(None)
            message.seconds.append(0.0)
            return None
        answer.raise_for_status()
        result = answer.json()
        statuses = result["webhook_statuses"]
        status = 200 if 200 in statuses else statuses[0]
        message.statuses.append(status)
        message.seconds.append(result["seconds"])
        return status

    def missing(self) -> list[str]:
        return [
            message.token
            for message in self.posted.values()
            if message.accepted_at is not None and message.token not in self.answered
        ]

    async def all_answered(self, *, seconds: float, but: int = 0) -> bool:
        """Whether all but `but` of what was accepted is answered within that time."""
        deadline = time.monotonic() + seconds
        while len(self.missing()) > but:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.05)
        return True

    async def _watch(self) -> None:
        while True:
            try:
                await self.look()
            except httpx2.HTTPError:
                await asyncio.sleep(0.2)
            await asyncio.sleep(0.05)

    async def look(self) -> None:
        answer = await self._simulator.get("/simulator/messages", params={"after": self._cursor})
        document = answer.json()
        now, self._cursor = time.time(), document["cursor"]
        for each in document["messages"]:
            if each["direction"] == "outbound":
                body = each["body"]
                if self._question is not None:
                    body = f"c{each['to'][-7:].lstrip('0')}-0000 {body}"
                self.answers.append(Answer(each["cursor"], each["to"], body, now))
                self.answered.update(TOKEN.findall(body))
