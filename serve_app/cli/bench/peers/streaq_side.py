"""streaQ. Runs in its own environment: see `queue_peers.py`."""

import os
import sys
import time

import anyio
from streaq import Worker

Stamp = tuple[float, float]


def stamp() -> Stamp:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def spent(first: Stamp, last: Stamp) -> Stamp:
    return last[0] - first[0], last[1] - first[1]


URL, COUNT, CONCURRENCY = sys.argv[2], int(sys.argv[3]), int(sys.argv[4])

worker = Worker(redis_url=URL, queue_name="bench-streaq", concurrency=CONCURRENCY)
times: list[Stamp] = []
finished = anyio.Event()


@worker.task(ttl=0)
async def noop(number: int) -> None:
    times.append(stamp())
    if len(times) >= COUNT:
        finished.set()


async def publish() -> Stamp:
    """Its tasks are sent in batches, as its documentation advises."""
    async with worker:
        started = stamp()
        for first in range(0, COUNT, CONCURRENCY):
            size = min(CONCURRENCY, COUNT - first)
            await worker.enqueue_many([noop.enqueue(first + step) for step in range(size)])
        return spent(started, stamp())


async def work() -> Stamp:
    with anyio.fail_after(120):
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run_async)
            await finished.wait()
            print("seconds cpu", *spent(times[0], times[-1]), flush=True)
            os._exit(0)  # ending it in the midst of its acknowledgements is an error there


print(
    "seconds cpu",
    *anyio.run(
        {"publish": publish, "work": work}[sys.argv[1]], backend_options={"use_uvloop": True}
    ),
)
