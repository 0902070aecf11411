"""Our side of the queue benchmark: `… queue_side publish|work URL COUNT CONCURRENCY`.

No-op jobs, each of its own conversation: one job a turn, with fence, order and dead letters on.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence

import uvloop

from models.jobs import Claim, DeadLetter, NewJob
from serve_app.bootstrap import compose_consumer
from serve_app.clock import SystemClock
from serve_app.queue.connection import connect
from serve_app.queue.service import QueueService
from serve_app.settings import AppSettings

LIMIT_S = 120.0

Stamp = tuple[float, float]


def stamp() -> Stamp:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def spent(first: Stamp, last: Stamp) -> Stamp:
    return last[0] - first[0], last[1] - first[1]


class CountingHandler:
    """Does nothing, `count` times."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.times: list[Stamp] = []
        self.finished = asyncio.Event()

    async def handle(self, claim: Claim) -> None:
        self.times.append(stamp())
        if len(self.times) >= self._count:
            self.finished.set()

    async def on_dead(self, letters: Sequence[DeadLetter]) -> None:
        raise AssertionError(f"{len(letters)} no-op jobs failed")


async def publish(url: str, count: int, concurrency: int) -> Stamp:
    settings = AppSettings().queue
    redis = connect(url, settings)
    queue = QueueService(redis=redis, name="bench", settings=settings)
    gate = asyncio.Semaphore(concurrency)
    base = time.time_ns()

    async def one(number: int) -> None:
        async with gate:
            await queue.publish(
                NewJob(id=f"{base}-{number}", conversation=f"c{number}", payload=str(number))
            )

    started = stamp()
    await asyncio.gather(*(one(number) for number in range(count)))
    seconds = spent(started, stamp())
    await redis.aclose()
    return seconds


async def work(url: str, count: int, concurrency: int) -> Stamp:
    settings = AppSettings()
    redis = connect(url, settings.queue)
    queue = QueueService(redis=redis, name="bench", settings=settings.queue)
    handler = CountingHandler(count)
    consumer = compose_consumer(
        settings, queue, handler, clock=SystemClock(), concurrency=concurrency
    )
    running = asyncio.create_task(consumer.run())
    async with asyncio.timeout(LIMIT_S):
        await handler.finished.wait()
    await consumer.drain()
    await running
    left = await queue.backlog()
    await redis.aclose()
    if left.waiting + left.in_flight:
        raise AssertionError(f"not settled: {left}")
    return spent(handler.times[0], handler.times[-1])


def main() -> None:
    mode, url, count, concurrency = sys.argv[1:]
    run = {"publish": publish, "work": work}[mode]
    print("seconds cpu", *uvloop.run(run(url, int(count), int(concurrency))))


if __name__ == "__main__":
    main()
