"""Ends tasks that were started beside something."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

log = structlog.get_logger(__name__)

ASK_AGAIN_S = 0.2
END_LIMIT_S = 20.0


async def end_tasks(tasks: Iterable[asyncio.Task[Any]], *, limit_s: float = END_LIMIT_S) -> None:
    """Cancel them, and wait until they have ended. How they ended is theirs: nothing is raised.

    Cancelling once isn't enough: a driver may lose the request while its own `wait_for` ends (before
    Python 3.12 it returns the result instead), and a loop would go on for ever. Whoever still runs after
    `limit_s` seconds is logged and left.
    """
    ending = list(tasks)
    left = {task for task in ending if not task.done()}
    deadline = asyncio.get_running_loop().time() + limit_s
    while left and asyncio.get_running_loop().time() < deadline:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=ASK_AGAIN_S)
    for task in left:
        log.error("task_does_not_end", task=task.get_name())
    await asyncio.gather(*(task for task in ending if task.done()), return_exceptions=True)
