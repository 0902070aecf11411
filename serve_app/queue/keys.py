"""Where a queue keeps things in Redis."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

GROUP = "turns"
"""The consumer group on every ready stream; `common.lua` knows it by the same name."""
FIXED = ("ready", "active", "delayed", "dead", "buried", "ring", "lined")
"""Keys that each shard has once; `common.lua` expects them in this order."""


@dataclass(frozen=True, slots=True)
class ShardKeys:
    """The keys of one shard share the hash tag `{name:shard}`, so that its scripts run on Redis Cluster."""

    prefix: str
    ready: str
    fixed: tuple[str, ...]
    """What every script gets as KEYS, in the order of `FIXED`."""

    @classmethod
    def of(cls, *, prefix: str, name: str, shard: int, dead_stream: str | None = None) -> ShardKeys:
        """`dead_stream` gives the dead letters a stream of that name, `dead:<name>`."""
        base = f"{prefix}:{{{name}:{shard}}}:"
        named = {name: f"{name}:{dead_stream}" for name in ("dead", "buried") if dead_stream}
        fixed = tuple(base + named.get(part, part) for part in FIXED)
        return cls(prefix=base, ready=fixed[0], fixed=fixed)


def shard_of(conversation: str, shards: int) -> int:
    """Stable between processes and versions, unlike `hash`."""
    return zlib.crc32(conversation.encode("utf-8", "surrogatepass")) % shards
