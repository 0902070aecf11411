"""How fast messages may leave, shared by all replicas: token buckets in Redis, by Redis' clock."""

from __future__ import annotations

import asyncio
import hashlib
from importlib.resources import files
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from serve_app.ports import SendLane
from serve_app.queue.connection import lane_of, translated

PATIENCE_S = 5.0
"""How late a waiting message may come back without losing its place in line."""


class RedisSendRates:
    """Implements `serve_app.ports.SendRates`. The keys of a sender share a hash tag, so that the scripts run
    on Redis Cluster; a recipient's number is in no key."""

    def __init__(
        self,
        *,
        redis: Redis,
        prefix: str,
        timeout_s: float,
        longest_pause_s: float = 8.0,
        recovery_s: float = 30.0,
    ) -> None:
        """A sender that was too fast goes at half its rate for `recovery_s`; each further strike halves it
        again, and doubles its pause up to `longest_pause_s`."""
        self._lane = lane_of(redis, limit_s=timeout_s)
        self._prefix = prefix
        self._timeout_s = timeout_s
        self._longest_pause_s = longest_pause_s
        self._recovery_s = recovery_s
        self._acquire = _Script("send_rates")
        self._slow_down = _Script("slow_down")

    async def acquire(self, lane: SendLane, who: str, *, cost: int = 1) -> float:
        base = self._base(lane)
        recipient = hashlib.blake2b(lane.recipient.encode(), digest_size=16).hexdigest()
        wait = await self._run(
            self._acquire,
            (f"{base}bucket", f"{base}line", f"{base}to:{recipient}"),
            who,
            cost,
            lane.per_second,
            lane.burst,
            lane.recipient_per_second,
            lane.recipient_burst,
            self._recovery_s,
            PATIENCE_S,
        )
        return float(wait)

    async def slow_down(self, lane: SendLane, *, at_least_s: float = 0.0) -> float:
        key = f"{self._base(lane)}bucket"
        return float(
            await self._run(
                self._slow_down, (key,), at_least_s, self._longest_pause_s, self._recovery_s
            )
        )

    def _base(self, lane: SendLane) -> str:
        return f"{self._prefix}:{{rates:{lane.account_id}:{lane.sender}}}:"

    async def _run(self, script: _Script, keys: tuple[str, ...], *args: str | float) -> Any:
        tail = (len(keys), *keys, *map(str, args))
        with translated():
            async with asyncio.timeout(self._timeout_s):
                try:
                    return await self._lane.execute("EVALSHA", script.sha, *tail)
                except NoScriptError:
                    return await self._lane.execute("EVAL", script.source, *tail)


class _Script:
    def __init__(self, name: str) -> None:
        self.source = (files("serve_app.queue") / "lua" / f"{name}.lua").read_text("utf-8")
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
