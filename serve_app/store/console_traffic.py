# ruff: noqa: S608 -- only constants of this file are formatted into statements
"""How the service fares, from what it keeps anyway: messages, turns with their timings, replies."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import asyncpg

from models.console import (
    ACKNOWLEDGING_S,
    OwnerTraffic,
    Quantiles,
    Traffic,
    TrafficPoint,
    WebhookCounts,
)
from models.conversations import ReplyStatus
from serve_app.store.pool import Connection

_ORDER = {
    name: place
    for place, name in enumerate(("queued", "record", "resolve", "transcribe", "answer", "commit"))
}
_UNSENT = frozenset({ReplyStatus.FAILED, ReplyStatus.PARKED, ReplyStatus.UNKNOWN})
_OWNERS = 20
"""The busiest are shown."""
_SAMPLE = 2_000
"""Turns that quantiles are taken from, about: reading the timings of a whole busy day takes a second."""
_QUANTILES = "percentile_cont(ARRAY[0.5, 0.95, 0.99]) WITHIN GROUP (ORDER BY {0})"

# Neither compiling the statements nor starting processes for them pays.
_CLOCK = """
    SELECT now() AS now, now() - make_interval(secs => $1) AS start, set_config('jit', 'off', true),
        set_config('max_parallel_workers_per_gather', '0', true)
"""
_TURNS_BY_OWNER = """
    SELECT o.id AS owner_id, o.name, 0 AS messages, coalesce(t.turns, 0) AS turns, 0 AS replies,
        0 AS failed, coalesce(t.tokens, 0)::bigint AS tokens,
        coalesce(t.audio_seconds, 0)::float8 AS audio_seconds
    FROM owners o LEFT JOIN (
        SELECT owner_id, count(*) AS turns, sum(prompt_tokens + completion_tokens) AS tokens,
            sum(audio_seconds) AS audio_seconds
        FROM turns WHERE created_at > $1 GROUP BY 1
    ) AS t ON t.owner_id = o.id
"""
# A row for each owner, and one for each slice.
_MESSAGES = """
    SELECT v.owner_id, date_bin(make_interval(secs => $2), m.received_at, $1) AS slice,
        count(*) AS count
    FROM messages m JOIN conversations v ON v.id = m.conversation_id WHERE m.received_at > $1
    GROUP BY GROUPING SETS ((1), (2))
"""
_REPLIES = """
    SELECT v.owner_id, v.channel, r.status, count(*) AS count
    FROM replies r JOIN conversations v ON v.id = r.conversation_id
    WHERE r.created_at > $1 GROUP BY 1, 2, 3
"""
_LAST_SENT = """
    SELECT updated_at FROM replies WHERE status = 'sent' ORDER BY created_at DESC LIMIT 1
"""
_INDEXED = 16
"""The part of all turns that the partial index turns_sample holds."""
_ONE_IN = "AND abs(hashtext(t.id)::bigint) % {0} = 0"
# Time in processing is what passed from the end of the queue to the end of the last step.
_SAMPLED = f"""
    WITH sample AS MATERIALIZED (
        SELECT t.created_at, t.owner_id, t.completion_tokens, t.audio_seconds, t.timings,
            (SELECT sum((s->>'seconds')::float8) FROM jsonb_array_elements(t.timings) s
                WHERE s->>'step' = 'queued') AS queued,
            (SELECT sum((s->>'seconds')::float8) FROM jsonb_array_elements(t.timings) s
                WHERE s->>'step' <> 'queued') AS processing
        FROM turns t WHERE t.created_at > $1 {{0}} AND jsonb_array_length(t.timings) > 0
    ), step AS MATERIALIZED (
        SELECT s->>'step' AS step, (s->>'seconds')::float8 AS seconds, sample.audio_seconds
        FROM sample, jsonb_array_elements(sample.timings) s
    ), stage AS (
        SELECT step, count(*) AS count, sum(seconds) AS total,
            {_QUANTILES.format("seconds")} AS quantiles
        FROM step GROUP BY 1
    ), slice AS (
        SELECT extract(epoch FROM date_bin(make_interval(secs => $2), created_at, $1) - $1)::float8
            AS since, count(*) AS turns,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY queued) AS queued,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY processing) AS processing
        FROM sample GROUP BY 1
    ), owner AS (
        SELECT owner_id, percentile_cont(0.95) WITHIN GROUP (ORDER BY queued) AS queued_p95,
            percentile_cont(0.95) WITHIN GROUP (ORDER BY processing) AS processing_p95
        FROM sample GROUP BY 1
    )
    SELECT count(*) AS turns, count(queued) AS waited,
        {_QUANTILES.format("queued")} AS queued, {_QUANTILES.format("processing")} AS processing,
        coalesce(sum(completion_tokens), 0)::bigint AS completion_tokens,
        coalesce(sum(audio_seconds), 0)::float8 AS audio_seconds,
        (SELECT coalesce(sum(seconds), 0) FROM step WHERE step = 'transcribe' AND audio_seconds > 0)
            AS transcribing,
        (SELECT jsonb_agg(to_jsonb(stage)) FROM stage) AS stages,
        (SELECT jsonb_agg(to_jsonb(slice)) FROM slice) AS slices,
        (SELECT jsonb_agg(to_jsonb(owner)) FROM owner) AS owners
    FROM sample
"""


async def read_traffic(connection: Connection, *, seconds: float, points: int) -> Traffic:
    """Each table's stretch is read once, and all of them as they were at one moment: within a transaction
    that reads repeatably, as `PostgresConsoleViews.traffic` opens it."""
    width = seconds / points
    clock = await connection.fetchrow(_CLOCK, seconds)
    assert clock is not None  # noqa: S101 -- one row
    start: datetime = clock["start"]
    owners = {
        row["owner_id"]: OwnerTraffic(**dict(row))
        for row in await connection.fetch(_TURNS_BY_OWNER, start)
    }
    turns = sum(owner.turns for owner in owners.values())
    messages = await connection.fetch(_MESSAGES, start, width)
    replies = await connection.fetch(_REPLIES, start)
    every = sample_rate(turns)
    sample = await connection.fetchrow(_sampled(every), start, width)
    assert sample is not None  # noqa: S101 -- an aggregate
    found_stages: list[dict[str, Any]] = sample["stages"] or []
    found_slices: list[dict[str, Any]] = sample["slices"] or []
    stages = {str(stage["step"]): stage for stage in found_stages}
    slices = {round(each["since"] / width): each for each in found_slices}
    received: dict[int, int] = {}
    for row in messages:
        if row["slice"] is None:
            _note(owners, row, "messages", row["count"])
        else:
            received[round((row["slice"] - start).total_seconds() / width)] = row["count"]
    statuses: dict[ReplyStatus, int] = {}
    channels: dict[tuple[str, ReplyStatus], int] = {}
    for row in replies:
        status = ReplyStatus(row["status"])
        statuses[status] = statuses.get(status, 0) + row["count"]
        channel = (row["channel"], status)
        channels[channel] = channels.get(channel, 0) + row["count"]
        _note(owners, row, "replies", row["count"])
        if status in _UNSENT:
            _note(owners, row, "failed", row["count"])
    found_owners: list[dict[str, Any]] = sample["owners"] or []
    for each in found_owners:
        if each["owner_id"] in owners:
            owner = owners[each["owner_id"]]
            owners[owner.owner_id] = owner.model_copy(update=each)
    busiest = sorted(owners.values(), key=lambda owner: (-owner.messages, owner.owner_id))
    return Traffic(
        seconds=seconds,
        as_of=clock["now"],
        messages=sum(received.values()),
        turns=turns,
        queued=_quantiles(sample["waited"] * every, sample["queued"]),
        processing=_quantiles(sample["turns"] * every, sample["processing"]),
        stages=tuple(
            (name, _quantiles(stages[name]["count"] * every, stages[name]["quantiles"]))
            for name in sorted(stages, key=lambda name: (_ORDER.get(name, len(_ORDER)), name))
        ),
        replies=tuple(statuses.items()),
        channels=tuple((name, status, count) for (name, status), count in channels.items()),
        owners=tuple(o for o in busiest if o.messages or o.turns or o.replies)[:_OWNERS],
        points=tuple(
            TrafficPoint(
                at=start + timedelta(seconds=n * width),
                messages=received.get(n, 0),
                turns=int(slices[n]["turns"]) * every if n in slices else 0,
                queued_p95=slices[n]["queued"] if n in slices else None,
                processing_p95=slices[n]["processing"] if n in slices else None,
            )
            for n in range(points)
        ),
        completion_tokens=sample["completion_tokens"] * every,
        answering_seconds=(stages["answer"]["total"] if "answer" in stages else 0.0) * every,
        audio_seconds=sample["audio_seconds"] * every,
        transcribing_seconds=sample["transcribing"] * every,
        last_sent_at=await connection.fetchval(_LAST_SENT),
    )


def sample_rate(turns: int) -> int:
    """One in how many is looked at: a power of two, so that the rarer are among the more frequent."""
    return 1 << max(0, (turns // _SAMPLE).bit_length() - 1) if turns >= _SAMPLE else 1


def _sampled(every: int) -> str:
    """Numbers, not parameters: the planner must see that the partial index holds what is asked for."""
    indexed = _ONE_IN.format(_INDEXED) if every >= _INDEXED else ""
    return _SAMPLED.format(indexed + (f" {_ONE_IN.format(every)}" if every > 1 else ""))


def _note(owners: dict[str, OwnerTraffic], row: asyncpg.Record, what: str, count: int) -> None:
    owner = owners.get(row["owner_id"])
    if owner is not None:
        owners[owner.owner_id] = owner.model_copy(update={what: getattr(owner, what) + count})


async def add_webhook_counts(connection: Connection, replica: str, counts: WebhookCounts) -> None:
    await connection.execute(
        "INSERT INTO webhook_samples (replica, refused, counts) VALUES ($1, $2, $3)",
        replica,
        counts.refused,
        list(counts.counts),
    )
    await connection.execute("DELETE FROM webhook_samples WHERE at < now() - interval '25 hours'")


async def read_webhook_counts(connection: Connection, *, seconds: float) -> WebhookCounts:
    columns = ", ".join(
        f"coalesce(sum(counts[{place}]), 0)::bigint" for place in range(1, len(ACKNOWLEDGING_S) + 2)
    )
    row: asyncpg.Record | None = await connection.fetchrow(
        f"""
        SELECT coalesce(sum(refused), 0)::bigint AS refused, ARRAY[{columns}] AS counts
        FROM webhook_samples WHERE at > now() - make_interval(secs => $1)
        """,
        seconds,
    )
    assert row is not None  # noqa: S101 -- an aggregate
    return WebhookCounts(refused=row["refused"], counts=tuple(row["counts"]))


def _quantiles(count: int, values: Any) -> Quantiles:
    if not count or not values:
        return Quantiles()
    return Quantiles(count=count, p50=values[0], p95=values[1], p99=values[2])
