"""Tasks end, also those that lose a request to end."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from serve_app.tasks import end_tasks


async def test_a_task_that_loses_its_first_cancellation_is_ended() -> None:
    cancellations = 0

    async def careless_loop() -> None:
        nonlocal cancellations
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancellations += 1
                if cancellations > 1:
                    raise

    task = asyncio.create_task(careless_loop())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert task.cancelled()


async def test_how_a_task_ended_is_its_own_affair() -> None:
    async def fail() -> None:
        raise ValueError("seen to")

    failed = asyncio.create_task(fail())
    ended = asyncio.create_task(asyncio.sleep(0))
    running = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0.01)
    await end_tasks([failed, ended, running])
    assert failed.done()
    assert ended.done()
    assert running.cancelled()


async def test_who_will_not_end_is_named_and_left() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            try:
                await released.wait()
            except asyncio.CancelledError:
                continue

    task = asyncio.create_task(stubborn(), name="stubborn")
    await asyncio.sleep(0)
    with capture_logs() as logs:
        await end_tasks([task], limit_s=0.3)
    assert not task.done()
    assert [entry["task"] for entry in logs] == ["stubborn"]
    released.set()
    await task
