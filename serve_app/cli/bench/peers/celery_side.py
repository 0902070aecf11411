"""Celery through Ray Serve's own adapter, outside a replica. Celery comes from its own environment, Ray from
ours: see `queue_peers.py`."""

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

from ray.serve import task_processor
from ray.serve.schema import CeleryAdapterConfig, TaskProcessorConfig

Stamp = tuple[float, float]


def stamp() -> Stamp:
    """Wall and CPU seconds."""
    return time.perf_counter(), time.process_time()


def spent(first: Stamp, last: Stamp) -> Stamp:
    return last[0] - first[0], last[1] - first[1]


def for_kombu(url: str) -> str:
    """kombu's name for a Unix socket's address."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database = parse_qs(parts.query).get("db", ["0"])[0]
    return f"redis+socket://{parts.path}?virtual_host={database}"


MODE, URL = sys.argv[1], for_kombu(sys.argv[2])
COUNT, CONCURRENCY = int(sys.argv[3]), int(sys.argv[4])
LIMIT_S = 120.0
times: list[Stamp] = []
finished = threading.Event()

# All that the adapter wants of the replica is a name.
task_processor.get_replica_context = lambda: SimpleNamespace(replica_tag="bench")
adapter = task_processor.CeleryTaskProcessorAdapter(
    TaskProcessorConfig(
        queue_name="bench-celery",
        adapter_config=CeleryAdapterConfig(broker_url=URL, backend_url=URL),
    )
)
adapter.initialize(CONCURRENCY)


def noop(number: int) -> None:
    times.append(stamp())
    if len(times) >= COUNT:
        finished.set()


def publish() -> Stamp:
    def some(first: int) -> None:
        for number in range(first, COUNT, CONCURRENCY):
            adapter.enqueue_task_sync("noop", args=[number])

    started = stamp()
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        for done in [pool.submit(some, first) for first in range(CONCURRENCY)]:
            done.result()
    return spent(started, stamp())


def work() -> Stamp:
    adapter.register_task_handle(noop, "noop")
    sys.argv = sys.argv[:1]
    adapter.start_consumer()
    deadline = time.monotonic() + LIMIT_S
    while not finished.wait(0.05):
        if time.monotonic() > deadline or not adapter._worker_thread.is_alive():
            print(f"{len(times)} of {COUNT} jobs done", file=sys.__stderr__, flush=True)
            os._exit(1)
    # Its worker has put a log in the place of both outputs.
    print("seconds cpu", *spent(min(times), max(times)), file=sys.__stdout__, flush=True)
    os._exit(0)  # its orderly stop takes seconds


print("seconds cpu", *{"publish": publish, "work": work}[MODE]())
