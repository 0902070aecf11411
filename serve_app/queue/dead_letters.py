"""The dead letters of one queue: a stream a shard, read as one."""

from __future__ import annotations

import json
from collections.abc import Sequence

from models.jobs import DeadLetter, DeadReason, NewJob
from serve_app.queue.keys import ShardKeys
from serve_app.queue.rows import dead_order, letter_from, parse_dead_id
from serve_app.queue.scripts import ScriptRunner
from serve_app.settings import QueueSettings


class DeadLetterStore:
    def __init__(
        self,
        *,
        name: str,
        settings: QueueSettings,
        scripts: ScriptRunner,
        shards: Sequence[ShardKeys],
    ) -> None:
        self._name = name
        self._dedupe_ms = round(settings.dedupe_ttl_s * 1000)
        self._scripts = scripts
        self._shards = shards

    async def bury(
        self, job: NewJob, reason: DeadReason, note: str, *, shard: int
    ) -> DeadLetter | None:
        rows = await self._scripts.run(
            "bury",
            self._shards[shard],
            job.id,
            job.conversation,
            job.payload,
            json.dumps(job.trace),
            self._dedupe_ms,
            reason.value,
            note,
            job.fairness_key,
        )
        return letter_from(rows[0], queue=self._name, shard=shard) if rows else None

    async def page(self, *, start: str, count: int) -> list[DeadLetter]:
        """Ordered by time of death, then shard. A `start` that is no position reads as the end."""
        exclusive, position = start.startswith("("), start.removeprefix("(")
        parsed = ("-", 0) if position == "-" else parse_dead_id(position)
        if parsed is None:
            return []
        first, start_shard = parsed
        letters: list[DeadLetter] = []
        for shard, keys in enumerate(self._shards):
            # Of letters at one position, the lower shards come first and were seen already.
            seen = position != "-" and (shard < start_shard or (shard == start_shard and exclusive))
            rows = await self._scripts.run(
                "letters", keys, f"({first}" if seen else first, "+", count
            )
            letters += [letter_from(row, queue=self._name, shard=shard) for row in rows]
        return sorted(letters, key=dead_order)[:count]

    async def latest(self, *, before: str, count: int) -> list[DeadLetter]:
        """Backwards in the same order. A `before` that is no id reads as the end."""
        parsed = parse_dead_id(before) if before else ("+", 0)
        if parsed is None:
            return []
        last, last_shard = parsed
        letters: list[DeadLetter] = []
        for shard, keys in enumerate(self._shards):
            # Of letters at one position, the higher shards come first and were seen already.
            to_come = not before or shard < last_shard
            rows = await self._scripts.run(
                "latest_letters", keys, last if to_come else f"({last}", count
            )
            letters += [letter_from(row, queue=self._name, shard=shard) for row in rows]
        return sorted(letters, key=dead_order, reverse=True)[:count]

    async def get(self, dead_id: str) -> DeadLetter | None:
        place = self._place(dead_id)
        if place is None:
            return None
        position, shard = place
        rows = await self._scripts.run("letters", self._shards[shard], position, position, 1)
        return letter_from(rows[0], queue=self._name, shard=shard) if rows else None

    async def replay(self, dead_id: str) -> bool:
        place = self._place(dead_id)
        if place is None:
            return False
        position, shard = place
        return bool(
            await self._scripts.run("replay", self._shards[shard], position, self._dedupe_ms)
        )

    async def purge(self, dead_id: str) -> bool:
        place = self._place(dead_id)
        if place is None:
            return False
        position, shard = place
        return bool(await self._scripts.run("purge", self._shards[shard], position))

    def _place(self, dead_id: str) -> tuple[str, int] | None:
        place = parse_dead_id(dead_id)
        return place if place and place[1] < len(self._shards) else None
