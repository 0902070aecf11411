"""Tells the open pages what has changed, as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Generator
from contextlib import contextmanager
from dataclasses import dataclass

LAGGED = "lagged"
"""The subscriber was too slow and has missed something: read everything again."""


@dataclass(frozen=True)
class Event:
    """`kind` is `message`, `typing` or `lagged`; `subject` is a message's sid."""

    kind: str
    contact: str = ""
    subject: str = ""


class Subscription:
    """What concerns some contacts, in order. Bounded: who doesn't read is told `lagged`, once."""

    def __init__(self, contacts: Collection[str], *, size: int) -> None:
        self._contacts = frozenset(contacts)
        self._queue: asyncio.Queue[Event] = asyncio.Queue(size)

    def offer(self, event: Event) -> None:
        if event.contact and event.contact not in self._contacts:
            return
        if self._queue.full():
            while not self._queue.empty():
                self._queue.get_nowait()
            event = Event(LAGGED)
        self._queue.put_nowait(event)

    async def next(self, *, seconds: float) -> Event | None:
        """None if nothing happens in that time."""
        try:
            async with asyncio.timeout(seconds):
                return await self._queue.get()
        except TimeoutError:
            return None


class EventHub:
    """Every subscription of this process."""

    def __init__(self, *, queue_size: int = 256) -> None:
        self._size = queue_size
        self._open: set[Subscription] = set()

    def tell(self, event: Event) -> None:
        for subscription in self._open:
            subscription.offer(event)

    @contextmanager
    def subscribe(self, contacts: Collection[str]) -> Generator[Subscription]:
        subscription = Subscription(contacts, size=self._size)
        self._open.add(subscription)
        try:
            yield subscription
        finally:
            self._open.discard(subscription)
