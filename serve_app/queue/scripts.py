"""Runs the Lua scripts of one queue."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Sequence
from importlib.resources import files
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, ResponseError

from serve_app.queue.connection import FAILURES, lane_of, meaning, translated
from serve_app.queue.keys import GROUP, ShardKeys
from serve_app.queue.wire import Arg


class Script:
    """A script's source, `common.lua` in front, and the name the server gives it."""

    def __init__(self, name: str) -> None:
        folder = files("serve_app.queue") / "lua"
        self.source = "".join((folder / f"{part}.lua").read_text() for part in ("common", name))
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


class ScriptRunner:
    """Calls scripts by their hash; sends the source when the server lost it, and makes the consumer group
    again when that is gone (both after a restart without data, or FLUSHALL)."""

    def __init__(self, *, redis: Redis, timeout_s: float) -> None:
        self._execute = cast("Callable[..., Awaitable[Any]]", redis.execute_command)  # pyright: ignore[reportUnknownMemberType] - untyped there
        self._lane = lane_of(redis, limit_s=timeout_s)
        self._timeout_s = timeout_s
        self._scripts: dict[str, Script] = {}

    async def run(self, name: str, keys: ShardKeys, *args: Arg) -> Any:
        """Raises `StaleClaimError` or `QueueUnavailableError`."""
        script = self._scripts.get(name) or self._scripts.setdefault(name, Script(name))
        tail = (len(keys.fixed), *keys.fixed, keys.prefix, *args)
        try:
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._call(script, tail)
                except ResponseError as error:
                    if not _lacks_group(error):
                        raise
                await self._make_group(keys)
                return await self._call(script, tail)
        except FAILURES as error:
            raise meaning(error) from error

    async def _call(self, script: Script, tail: tuple[Arg, ...]) -> Any:
        try:
            return await self._lane.execute("EVALSHA", script.sha, *tail)
        except NoScriptError:
            return await self._lane.execute("EVAL", script.source, *tail)

    async def read_new(
        self, keys: ShardKeys, *, consumer: str, count: int, block_ms: int
    ) -> list[str]:
        """Entry ids read for `consumer`, waiting up to `block_ms`: the one command that isn't a script,
        since scripts can't wait, and that has a connection to itself, since nothing may wait behind it."""
        command = (
            *("XREADGROUP", "GROUP", GROUP, consumer, "COUNT", count, "BLOCK", block_ms),
            *("STREAMS", keys.ready, ">"),
        )
        with translated():
            async with asyncio.timeout(self._timeout_s + block_ms / 1000):
                try:
                    answer = await self._execute(*command)
                except ResponseError as error:
                    if not _lacks_group(error):
                        raise
                    await self._make_group(keys)
                    answer = await self._execute(*command)
        if not answer:
            return []
        streams = cast("Sequence[tuple[str, Sequence[tuple[str, Any]]]]", answer)
        return [entry for entry, _fields in streams[0][1]]

    async def _make_group(self, keys: ShardKeys) -> None:
        # From 0: what was published before the group was made is delivered too.
        try:
            await self._execute("XGROUP CREATE", keys.ready, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def _lacks_group(error: ResponseError) -> bool:
    text = str(error)
    return "NOGROUP" in text or "no such key" in text
