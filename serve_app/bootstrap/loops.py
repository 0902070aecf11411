"""Loops beside a block, and consumers of queues."""

from __future__ import annotations

import asyncio
import os
import socket
import uuid
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from serve_app.ops.queue_metrics import MeasuredHandler, settled_hook
from serve_app.ops.tracing import Tracing
from serve_app.ops.unmeasured import Unmeasured
from serve_app.ports import Clock, Metrics, Queue
from serve_app.queue.consumer import Consumer, TurnHandler
from serve_app.settings import AppSettings
from serve_app.tasks import end_tasks


@asynccontextmanager
async def running(loop: Coroutine[Any, Any, None]) -> AsyncGenerator[None]:
    """A loop beside the block, cancelled at its end."""
    task = asyncio.create_task(loop)
    try:
        yield
    finally:
        await end_tasks([task])


def compose_consumer(
    settings: AppSettings,
    queue: Queue,
    handler: TurnHandler,
    *,
    clock: Clock,
    concurrency: int | None = None,
    metrics: Metrics | None = None,
    tracing: Tracing | None = None,
) -> Consumer:
    worker = settings.worker
    metrics = metrics or Unmeasured()
    return Consumer(
        queue=queue,
        handler=MeasuredHandler(handler, queue=queue.name, metrics=metrics, tracing=tracing),
        on_settled=settled_hook(queue.name, metrics),
        consumer_id=new_consumer_id(),
        concurrency=concurrency or worker.concurrency,
        lease_s=settings.queue.lease_s,
        turn_timeout_s=worker.turn_timeout_s,
        block_s=worker.block_s,
        scan_interval_s=worker.scan_interval_s,
        promote_interval_s=worker.promote_interval_s,
        drain_s=worker.drain_s,
        engine_wait_s=worker.engine_wait_s,
        clock=clock,
    )


def new_consumer_id() -> str:
    """Unique to a process start: a consumer that comes back is a new one."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
