"""Scale consumers on their queue's backlog. Import-light: Serve's controller loads it, by value."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import threading
import time
from typing import Any

from ray.serve.config import AutoscalingContext

log = logging.getLogger("ray.serve")


class BacklogPolicy:
    """As many replicas as it takes for each to have `turns_per_replica` turns waiting or in flight.

    Reads the metric `backlog` that the replicas record (`Worker.record_autoscaling_stats`), so that the
    controller needs no connection to Redis. Without a figure, or at zero replicas, which can't record
    any, the number stays within its bounds: a worker can't scale to zero by this policy. Delays and
    bounds of `autoscaling_config` apply on top.
    """

    def __init__(self, *, turns_per_replica: float = 16.0) -> None:
        self._turns_per_replica = _checked(turns_per_replica)

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        recorded = (ctx.aggregated_metrics or {}).get("backlog", {})
        if not recorded:
            return max(1, ctx.target_num_replicas), {}
        return max(1, math.ceil(max(recorded.values()) / self._turns_per_replica)), {}


class StreamBacklogPolicy:
    """The same, with a figure that the controller reads from Redis itself: scales to zero and up again.

    A thread that lives as long as one look reads the backlog every `poll_interval_s`, so that the
    controller never waits. While Redis gives no answer the number of replicas stays. The controller must
    be able to import this project; the address comes from `redis_url_variable` of its environment, or from
    `redis_url` where that holds no password: Serve shows a policy's arguments to everybody.
    """

    def __init__(
        self,
        *,
        queue_name: str,
        prefix: str = "tasks",
        turns_per_replica: float = 16.0,
        redis_url: str | None = None,
        redis_url_variable: str = "RECADO_REDIS_URL",
        poll_interval_s: float = 1.0,
        timeout_s: float = 2.0,
    ) -> None:
        self._queue_name = queue_name
        self._prefix = prefix
        self._turns_per_replica = _checked(turns_per_replica)
        self._redis_url = redis_url
        self._variable = redis_url_variable
        self._poll_interval_s = poll_interval_s
        self._timeout_s = timeout_s
        self._next_look = 0.0
        self._looking: threading.Thread | None = None
        self._backlog: int | None = None

    def __call__(self, ctx: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        now = time.monotonic()
        idle = self._looking is None or not self._looking.is_alive()
        if idle and now >= self._next_look:
            self._next_look = now + self._poll_interval_s
            wake = ctx.current_num_replicas == 0
            self._looking = threading.Thread(target=self._look, args=(wake,), daemon=True)
            self._looking.start()
        if self._backlog is None:
            return ctx.target_num_replicas, {}
        return math.ceil(self._backlog / self._turns_per_replica), {"backlog": self._backlog}

    def _look(self, wake: bool) -> None:
        try:
            self._backlog = asyncio.run(self._read(wake))
        except Exception as error:
            self._backlog = None
            log.warning("no backlog of queue '%s': %s", self._queue_name, error)

    async def _read(self, wake: bool) -> int:
        # By reference: only this module travels to the controller.
        from serve_app.queue.connection import connect
        from serve_app.queue.service import QueueService
        from serve_app.settings import QueueSettings

        url = self._redis_url or os.environ.get(self._variable)
        if not url:
            raise ValueError(f"{self._variable} isn't set where Serve's controller runs")
        settings = QueueSettings(prefix=self._prefix, command_timeout_s=self._timeout_s)
        redis = connect(url, settings)
        try:
            queue = QueueService(redis=redis, name=self._queue_name, settings=settings)
            if wake:
                # Nobody else makes due tasks ready while there is no consumer.
                await queue.promote()
            backlog = await queue.backlog()
        finally:
            await redis.aclose()
        return backlog.waiting + backlog.in_flight


def _checked(turns_per_replica: float) -> float:
    if turns_per_replica <= 0:
        raise ValueError("turns_per_replica must be above 0")
    return turns_per_replica
