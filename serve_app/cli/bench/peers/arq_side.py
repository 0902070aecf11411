"""arq. Runs in its own environment: see `queue_peers.py`."""

import asyncio
import os
import sys
import time
from typing import Any

import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker

Stamp = tuple[float, float]


def stamp() -> Stamp:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def spent(first: Stamp, last: Stamp) -> Stamp:
    return last[0] - first[0], last[1] - first[1]


URL, COUNT, CONCURRENCY = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
NAME = "bench-arq"
times: list[Stamp] = []
finished = asyncio.Event()


async def noop(context: dict[str, Any], number: int) -> None:
    times.append(stamp())
    if len(times) >= COUNT:
        finished.set()


async def publish() -> Stamp:
    pool = await create_pool(RedisSettings.from_dsn(URL), default_queue_name=NAME)
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int) -> None:
        async with gate:
            await pool.enqueue_job("noop", number)

    started = stamp()
    await asyncio.gather(*(one(number) for number in range(COUNT)))
    seconds = spent(started, stamp())
    await pool.aclose()
    return seconds


async def work() -> Stamp:
    worker = Worker(
        functions=[noop],
        queue_name=NAME,
        redis_settings=RedisSettings.from_dsn(URL),
        max_jobs=CONCURRENCY,
        poll_delay=0.01,
        handle_signals=False,
        keep_result=0,
    )
    running = asyncio.create_task(worker.async_run())
    waiting = asyncio.create_task(finished.wait())
    await asyncio.wait({running, waiting}, timeout=120, return_when=asyncio.FIRST_COMPLETED)
    if not finished.is_set():
        raise SystemExit(f"{len(times)} of {COUNT} jobs done")
    print("seconds cpu", *spent(times[0], times[-1]), flush=True)
    os._exit(0)  # closing it cancels the last job, which its worker then raises


print("seconds cpu", *uvloop.run({"publish": publish, "work": work}[sys.argv[1]]()))
