"""A time limit that holds even when what it stops takes its time to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

log = structlog.get_logger(__name__)

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T]) -> T:
    """The work's result. Raises TimeoutError after `seconds`, at once.

    `asyncio.timeout` waits for the cancelled work to end. A database driver on a server that hangs first
    tries to cancel its command there, which takes another time limit of its own.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_look_at)
    if not task.done():
        raise TimeoutError(f"no answer within {seconds:g} s")
    return task.result()


def _look_at(task: asyncio.Task[Any]) -> None:
    """So that asyncio doesn't complain that nobody retrieved the failure."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.debug("late_failure", error_type=type(error).__name__)
