"""The figure that workers are scaled on, from a real queue."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from deployments.worker import Worker
from models.jobs import NewJob
from tests.integration.queue.conftest import Opened

pytestmark = pytest.mark.integration


async def test_a_worker_records_what_waits_and_what_is_in_flight(
    valkey_url: str, open_queue: Callable[..., Opened]
) -> None:
    queue, _ = open_queue(valkey_url)
    record = cast("Any", Worker).func_or_class.record_autoscaling_stats
    worker = SimpleNamespace(_parts=SimpleNamespace(inbound=queue))
    assert await record(worker) == {"backlog": 0.0}
    for number in range(5):
        await queue.publish(NewJob(id=f"m{number}", conversation=f"c{number}", payload="{}"))
    claims = await queue.take(consumer="one", count=2, block_s=1.0)
    assert len(claims) == 2
    assert await record(worker) == {"backlog": 5.0}
    await queue.complete(claims[0])
    assert await record(worker) == {"backlog": 4.0}
