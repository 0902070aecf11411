"""Runs a replica's loops: owned, watched, and drained before the replica goes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from serve_app.queue.consumer import Consumer
from serve_app.tasks import end_tasks


class BackgroundLoops:
    """Consumers, and loops without anything to drain."""

    def __init__(self, *consumers: Consumer, loops: tuple[Callable[[], Awaitable[None]], ...] = ()):
        self._consumers = consumers
        self._loops = loops
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for run in (*(consumer.run for consumer in self._consumers), *self._loops):
            self._tasks.append(asyncio.create_task(_run(run)))

    def check(self) -> None:
        """Raises RuntimeError if a loop has ended, so that Serve replaces the replica."""
        for task in self._tasks:
            if task.done():
                cause = None if task.cancelled() else task.exception()
                raise RuntimeError("a background loop has ended") from cause
        if not all(consumer.healthy for consumer in self._consumers):
            raise RuntimeError("a consumer's loop has ended")

    async def stop(self) -> None:
        """Let running turns finish within their grace period, hand the rest back."""
        await asyncio.gather(*(consumer.drain() for consumer in self._consumers))
        await end_tasks(self._tasks)


async def _run(run: Callable[[], Awaitable[None]]) -> None:
    await run()
