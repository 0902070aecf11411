"""The connection to Redis, and what its failures mean to us."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Generator
from contextlib import contextmanager
from typing import Any, cast

from redis.asyncio import BlockingConnectionPool, Redis, RedisCluster
from redis.asyncio.retry import Retry
from redis.backoff import ConstantBackoff
from redis.exceptions import (
    ConnectionError as RedisConnectionError,
)
from redis.exceptions import OutOfMemoryError, ReadOnlyError, RedisClusterException, RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from models.errors import QueueUnavailableError, StaleClaimError
from serve_app.queue.lane import CommandLane
from serve_app.settings import QueueSettings

# Inside a script the server puts its own words around the code, so look anywhere.
_REFUSALS = re.compile(
    r"\b(OOM|READONLY|LOADING|MISCONF|BUSY|CLUSTERDOWN|TRYAGAIN|MASTERDOWN|NOREPLICAS|MOVED|ASK)\b"
)
_MAILBOX = "}:mailbox:"
"""What comes before a conversation in the name of its waiting jobs' list; `common.lua` puts it there."""


FAILURES = (RedisError, RedisClusterException, OSError)
"""What the client raises; TimeoutError is an OSError."""


class QueueClient(Redis):
    """redis-py's, with the lane that all queues behind it share."""

    lane: CommandLane


def connect(url: str, settings: QueueSettings) -> Redis:
    """A client over `redis://`, `rediss://` or `unix://`; close it with `aclose()`. Opens nothing yet.

    With `settings.cluster` it speaks to the Redis Cluster that the address is a node of, each command to
    the node that holds its shard.

    A connection that broke while it lay in the pool is replaced once and the command sent again: every
    script is idempotent or fenced, so that a command whose answer was lost does no harm. Timeouts aren't
    repeated; the caller's time is up then.
    """
    if settings.cluster:
        return _connect_cluster(url, settings)
    from_url = cast("Callable[..., BlockingConnectionPool]", BlockingConnectionPool.from_url)  # pyright: ignore[reportUnknownMemberType] - untyped there
    pool = from_url(
        url,
        max_connections=settings.max_connections + 1,  # the lane keeps one
        timeout=settings.command_timeout_s,
        socket_timeout=settings.command_timeout_s,
        socket_connect_timeout=settings.connect_timeout_s,
        health_check_interval=30,
        retry=Retry(ConstantBackoff(0.05), 1, supported_errors=(RedisConnectionError,)),
        decode_responses=True,
        # RESP2: scripts and stream reads answer in one shape on every server.
        protocol=2,
    )
    client = cast("QueueClient", QueueClient.from_pool(pool))
    client.lane = CommandLane(client, limit_s=settings.command_timeout_s)
    return client


def lane_of(redis: Redis, *, limit_s: float) -> CommandLane:
    """The client's own, or one for a client that `connect` hasn't made."""
    return redis.lane if isinstance(redis, QueueClient) else CommandLane(redis, limit_s=limit_s)


def _connect_cluster(url: str, settings: QueueSettings) -> Redis:
    if url.startswith("unix:"):
        raise ValueError("queue.cluster needs a redis:// or rediss:// address of one of its nodes")
    from_url = cast("Callable[..., RedisCluster]", RedisCluster.from_url)  # pyright: ignore[reportUnknownMemberType] - untyped there
    client = from_url(
        url,
        # Beyond its bound this client refuses instead of waiting; what runs at a time is bounded elsewhere.
        max_connections=2**31 - 1,
        socket_timeout=settings.command_timeout_s,
        socket_connect_timeout=settings.connect_timeout_s,
        health_check_interval=30,
        # A node that moved or failed over: the slots are looked up again before the second try.
        retry=Retry(ConstantBackoff(0.05), 2, supported_errors=(RedisConnectionError,)),
        decode_responses=True,
        protocol=2,
    )
    # Of both clients only `execute_command` and `aclose` are used.
    return cast("Redis", client)


async def ping(redis: Redis, *, timeout: float = 2.0) -> None:
    """Raises `QueueUnavailableError` unless the server answers within `timeout` seconds."""
    await bounded(redis, "PING", limit_s=timeout)


async def bounded(redis: Redis, *command: str | int, limit_s: float) -> Any:
    """One command that isn't a script. Raises `QueueUnavailableError`."""
    execute = cast("Callable[..., Awaitable[Any]]", redis.execute_command)  # pyright: ignore[reportUnknownMemberType] - untyped there
    with translated():
        async with asyncio.timeout(limit_s):
            return await execute(*command)


@contextmanager
def translated() -> Generator[None]:
    """Raise `StaleClaimError` where a script refused a fence, `QueueUnavailableError` for all else that
    keeps the server from doing its work."""
    try:
        yield
    except FAILURES as error:
        raise meaning(error) from error


def meaning(error: Exception) -> QueueUnavailableError | StaleClaimError:
    if str(error).startswith("STALE"):
        return StaleClaimError(str(error))
    if isinstance(error, RedisTimeoutError | TimeoutError):
        return QueueUnavailableError("redis did not answer in time")
    if isinstance(error, RedisConnectionError | RedisClusterException | OSError):
        return QueueUnavailableError(f"redis can't be reached: {error}")
    refusal = _refusal(error)
    if refusal:
        return QueueUnavailableError(f"redis refuses to work now ({refusal}): {error}")
    return QueueUnavailableError(f"redis answered with an error: {error}", away=False)


def _refusal(error: Exception) -> str | None:
    # The client takes the codes that it knows off the message.
    if isinstance(error, OutOfMemoryError):
        return "OOM"
    if isinstance(error, ReadOnlyError):
        return "READONLY"
    found = _REFUSALS.search(str(error))
    return found.group(1) if found else None


async def waiting_for(
    redis: Redis, *, prefix: str, contacts: Collection[str], timeout_s: float
) -> set[str]:
    """The conversations with jobs in any queue whose names end with one of these, as a conversation's ends
    with its contact's. Looks at every name under `prefix`: for rare use. Raises `QueueUnavailableError`."""
    endings = tuple(f":{contact}" for contact in contacts)
    found: set[str] = set()
    with translated():
        names = cast(
            "AsyncIterator[str]",
            redis.scan_iter(match=f"{_literal(prefix)}:*{_MAILBOX}*", count=1_000),  # pyright: ignore[reportUnknownMemberType] - untyped there
        ).__aiter__()
        while True:
            async with asyncio.timeout(timeout_s):
                name = await anext(names, None)
            if name is None:
                return found
            conversation = name.partition(_MAILBOX)[2]
            if conversation.endswith(endings):
                found.add(conversation)


def _literal(text: str) -> str:
    """Of a glob pattern."""
    return "".join(f"\\{c}" if c in "*?[]\\" else c for c in text)
