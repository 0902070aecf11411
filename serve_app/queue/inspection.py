"""Whether Redis keeps what it is given: its durability settings, and its clock."""

from __future__ import annotations

import time
from typing import Any, cast

from redis.asyncio import Redis

from models.errors import QueueUnavailableError
from models.findings import Finding, clock_finding
from serve_app.queue.connection import bounded

LIMIT_S = 5.0
WANTED = {
    "appendonly": ("yes", "an accepted message is lost when Redis restarts"),
    "appendfsync": ("always", "up to a second of accepted messages is lost when its machine dies"),
    "maxmemory-policy": ("noeviction", "Redis may drop waiting messages when its memory is full"),
}
CLOCK_LIMIT_S = 2.0


async def inspect_redis(redis: Redis) -> list[Finding]:
    """Never raises for what Redis answers or doesn't."""
    try:
        findings = [await _version(redis)]
        findings += [await _setting(redis, name) for name in WANTED]
        findings.append(await _clock(redis))
    except QueueUnavailableError as error:
        action = "Start it, or mend RECADO_REDIS_URL."
        return [Finding(check="redis", level="failed", text=str(error), action=action)]
    return findings


async def _version(redis: Redis) -> Finding:
    info: Any = await bounded(redis, "INFO", "server", limit_s=LIMIT_S)
    told = isinstance(info, dict)
    fields = cast("dict[str, Any]", info) if told else _fields(str(info))
    name = "Valkey" if "valkey_version" in fields else "Redis"
    version = str(fields.get("valkey_version") or fields.get("redis_version", "0"))
    parts = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if name == "Redis" and parts < (6, 2):
        return Finding(
            check="redis version",
            level="failed",
            text=f"Redis {version}",
            action="Use Redis 6.2 or later, or Valkey.",
        )
    return Finding(check="redis version", level="ok", text=f"{name} {version}")


def _fields(text: str) -> dict[str, Any]:
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


async def _setting(redis: Redis, name: str) -> Finding:
    wanted, consequence = WANTED[name]
    check = f"redis {name}"
    try:
        answer: Any = await bounded(redis, "CONFIG", "GET", name, limit_s=LIMIT_S)
    except QueueUnavailableError as error:
        if error.away:
            raise
        return Finding(
            check=check,
            level="warning",
            text="the server doesn't tell (CONFIG is not allowed)",
            action=f"See to it at the provider: it must be {wanted}, else {consequence}.",
        )
    value = str(_config_value(answer))
    if value == wanted:
        return Finding(check=check, level="ok", text=value)
    level = "warning" if name == "appendfsync" and value == "everysec" else "failed"
    return Finding(
        check=check,
        level=level,
        text=f"{value or 'not set'}: {consequence}",
        action=f"redis-cli CONFIG SET {name} {wanted}, and the same in its configuration file.",
    )


def _config_value(answer: Any) -> object:
    if isinstance(answer, dict):
        return next(iter(answer.values()), "")  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - untyped there
    return answer[1] if isinstance(answer, list | tuple) and len(answer) > 1 else ""  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType] - untyped there


async def _clock(redis: Redis) -> Finding:
    began = time.time()
    answer: Any = await bounded(redis, "TIME", limit_s=LIMIT_S)
    here = (began + time.time()) / 2
    return clock_finding(
        "redis clock", float(answer[0]) + float(answer[1]) / 1e6 - here, limit_s=CLOCK_LIMIT_S
    )
