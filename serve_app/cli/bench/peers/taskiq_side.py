"""taskiq-redis' stream broker, with acknowledgements. Runs in its own environment: see `queue_peers.py`."""

import asyncio
import os
import sys
import time

import uvloop
from taskiq.receiver import Receiver
from taskiq_redis import RedisStreamBroker

Stamp = tuple[float, float]


def stamp() -> Stamp:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def spent(first: Stamp, last: Stamp) -> Stamp:
    return last[0] - first[0], last[1] - first[1]


URL, COUNT, CONCURRENCY = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
NAME = "bench-taskiq"

broker = RedisStreamBroker(url=URL, queue_name=NAME, consumer_group_name=NAME)
times: list[Stamp] = []
finished = asyncio.Event()


@broker.task(task_name="noop")
async def noop(number: int) -> None:
    times.append(stamp())
    if len(times) >= COUNT:
        finished.set()


async def publish() -> Stamp:
    await broker.startup()
    gate = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int) -> None:
        async with gate:
            await noop.kiq(number)

    started = stamp()
    await asyncio.gather(*(one(number) for number in range(COUNT)))
    seconds = spent(started, stamp())
    await broker.shutdown()
    return seconds


async def work() -> Stamp:
    broker.is_worker_process = True
    receiver = Receiver(broker, max_async_tasks=CONCURRENCY, run_startup=True)
    listening = asyncio.create_task(receiver.listen(asyncio.Event()))
    await asyncio.wait(
        {listening, asyncio.create_task(finished.wait())},
        timeout=120,
        return_when=asyncio.FIRST_COMPLETED,
    )
    if not finished.is_set():
        raise SystemExit(f"{len(times)} of {COUNT} jobs done")
    print("seconds cpu", *spent(times[0], times[-1]), flush=True)
    os._exit(0)  # its receiver doesn't always end when it is told to


print("seconds cpu", *uvloop.run({"publish": publish, "work": work}[sys.argv[1]]()))
