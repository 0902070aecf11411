# ruff: noqa: S608 -- only constants of this file are formatted into statements
"""Conversations as the console lists, finds and reads them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import asyncpg

from models.console import (
    ConversationLine,
    ConversationPage,
    ConversationRecord,
    StoredInbound,
    TurnRecord,
)
from models.conversations import HistoryEntry, Reply, StepTiming
from models.inference import ToolCall
from models.messages import InboundMessage
from serve_app.store.pool import Connection
from serve_app.store.replies import replies_of
from serve_app.store.values import pattern, text

_LINE = """
    SELECT v.id, v.owner_id, o.name AS owner_name, v.channel, c.address, c.profile_name, v.human,
        v.last_inbound_at
    FROM conversations v JOIN contacts c ON c.id = v.contact_id JOIN owners o ON o.id = v.owner_id
"""
_EXCERPT = """
    SELECT DISTINCT ON (conversation_id) conversation_id,
        left(coalesce(nullif(payload->>'body', ''), transcript, ''), 160) AS excerpt
    FROM messages WHERE conversation_id = ANY($1) ORDER BY conversation_id, seq DESC
"""
_MATCHES = 300
"""Conversations that a search finds at most, by each of its ways."""
_MESSAGE_WORDS = """to_tsvector('simple'::regconfig,
    left(coalesce(payload->>'body', '') || ' ' || coalesce(transcript, ''), 8000))"""
_FOUND = f"""
    (SELECT conversation_id AS id FROM messages WHERE {_MESSAGE_WORDS} @@ q.query
        ORDER BY received_at DESC LIMIT {_MATCHES})
    UNION (SELECT conversation_id FROM replies
        WHERE to_tsvector('simple'::regconfig, left(body, 8000)) @@ q.query
        ORDER BY created_at DESC LIMIT {_MATCHES})
    UNION (SELECT v.id FROM contacts c JOIN conversations v ON v.contact_id = c.id
        WHERE c.profile_name ILIKE q.pattern OR c.address ILIKE q.pattern LIMIT {_MATCHES})
    UNION (SELECT conversation_id FROM messages WHERE provider_message_id = q.whole)
    UNION (SELECT conversation_id FROM replies WHERE provider_message_id = q.whole)
    UNION (SELECT conversation_id FROM turns WHERE trace->>'correlation_id' = q.whole)
"""
# What was found is told instead of the latest message. Words around the hit, at most 160 characters.
_HEADLINE = (
    "left(ts_headline('simple', {0}, q.query, 'StartSel=\"\", StopSel=\"\", MaxWords=24'), 160)"
)
_FOUND_EXCERPT = f"""
    WITH q AS MATERIALIZED (SELECT websearch_to_tsquery('simple', $2) AS query)
    SELECT DISTINCT ON (found.id) found.id AS conversation_id, {_HEADLINE.format("found.said")} AS excerpt
    FROM q, LATERAL (
        (SELECT conversation_id AS id, received_at AS at,
            coalesce(payload->>'body', '') || ' ' || coalesce(transcript, '') AS said
        FROM messages WHERE conversation_id = ANY($1) AND {_MESSAGE_WORDS} @@ q.query
        ORDER BY received_at DESC LIMIT {_MATCHES})
        UNION ALL (SELECT conversation_id, created_at, body FROM replies
        WHERE conversation_id = ANY($1)
            AND to_tsvector('simple'::regconfig, left(body, 8000)) @@ q.query
        ORDER BY created_at DESC LIMIT {_MATCHES})
    ) AS found
    ORDER BY found.id, found.at DESC
"""
_CURSOR = re.compile(r"([0-9.]+|-)~(.+)", re.DOTALL)


async def list_conversations(
    connection: Connection, *, search: str, only_people: bool, after: str | None, limit: int
) -> ConversationPage:
    conditions: list[str] = []
    values: list[Any] = [limit + 1]

    def value(given: object) -> str:
        values.append(given)
        return f"${len(values)}"

    if only_people:
        conditions.append("v.human")
    words = (text(search) or "").strip()
    if words:
        matches = await connection.fetch(
            f"""
            WITH q AS MATERIALIZED (SELECT websearch_to_tsquery('simple', $1) AS query,
                $2::text AS pattern, $3::text AS whole)
            SELECT found.id FROM q, LATERAL ({_FOUND}) AS found
            """,
            words,
            f"%{pattern(words)}%",
            words,
        )
        conditions.append(f"v.id = ANY({value([row['id'] for row in matches])})")
    position = _CURSOR.fullmatch(after or "")
    if position is not None:
        at = "-infinity" if position[1] == "-" else position[1]
        if at == "-infinity":
            conditions.append(f"v.last_inbound_at IS NULL AND v.id > {value(position[2])}")
        else:
            moment = value(float(at))
            conditions.append(
                f"(v.last_inbound_at < to_timestamp({moment}) OR v.last_inbound_at IS NULL"
                f" OR (v.last_inbound_at = to_timestamp({moment}) AND v.id > {value(position[2])}))"
            )
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    rows = await connection.fetch(
        f"{_LINE} {where} ORDER BY v.last_inbound_at DESC NULLS LAST, v.id LIMIT $1", *values
    )
    shown = rows[:limit]
    ids = [row["id"] for row in shown]
    told = await connection.fetch(_EXCERPT, ids)
    if words:
        told += await connection.fetch(_FOUND_EXCERPT, ids, words)
    excerpts = {row["conversation_id"]: row["excerpt"] for row in told}
    lines = tuple(_line(row, excerpts.get(row["id"], "")) for row in shown)
    return ConversationPage(
        lines=lines, after=_cursor(lines[-1]) if len(rows) > limit and lines else None
    )


async def read_conversation(
    connection: Connection, conversation_id: str, *, limit: int
) -> ConversationRecord | None:
    row = await connection.fetchrow(f"{_LINE} WHERE v.id = $1", text(conversation_id))
    if row is None:
        return None
    messages = await connection.fetch(
        """
        SELECT id, seq, payload, received_at, transcript, audio_seconds, turn_id FROM messages
        WHERE conversation_id = $1 ORDER BY seq DESC LIMIT $2
        """,
        row["id"],
        limit + 1,
    )
    turns = await connection.fetch(
        """
        SELECT id, created_at, hand_over, prompt_tokens, completion_tokens, timings, trace
        FROM turns WHERE conversation_id = $1 ORDER BY created_at DESC LIMIT $2
        """,
        row["id"],
        limit,
    )
    ids = [turn["id"] for turn in turns]
    entries: dict[str, list[HistoryEntry]] = {}
    for entry in await connection.fetch(
        """
        SELECT turn_id, role, content, tool_calls, tool_call_id, name FROM entries
        WHERE turn_id = ANY($1) ORDER BY seq
        """,
        ids,
    ):
        entries.setdefault(entry["turn_id"], []).append(_entry(entry))
    replies: dict[str, list[Reply]] = {}
    for reply in await replies_of(connection, ids):
        replies.setdefault(reply.turn_id, []).append(reply)
    return ConversationRecord(
        line=_line(row, ""),
        messages=tuple(stored_inbound(message) for message in reversed(messages[:limit])),
        turns=tuple(
            _turn(turn, entries.get(turn["id"], []), replies.get(turn["id"], []))
            for turn in reversed(turns)
        ),
        complete=len(messages) <= limit,
    )


def stored_inbound(row: asyncpg.Record) -> StoredInbound:
    return StoredInbound(
        id=row["id"],
        seq=row["seq"],
        message=InboundMessage.model_validate(row["payload"]),
        received_at=row["received_at"],
        transcript=row["transcript"],
        audio_seconds=row["audio_seconds"],
        turn_id=row["turn_id"],
    )


def _turn(row: asyncpg.Record, entries: list[HistoryEntry], replies: list[Reply]) -> TurnRecord:
    return TurnRecord(
        id=row["id"],
        created_at=row["created_at"],
        hand_over=row["hand_over"],
        prompt_tokens=row["prompt_tokens"],
        completion_tokens=row["completion_tokens"],
        timings=tuple(StepTiming(**timing) for timing in row["timings"]),
        correlation_id=row["trace"].get("correlation_id"),
        entries=tuple(entries),
        replies=tuple(replies),
    )


def _entry(row: asyncpg.Record) -> HistoryEntry:
    return HistoryEntry(
        role=row["role"],
        content=row["content"],
        tool_calls=tuple(ToolCall(**call) for call in row["tool_calls"]),
        tool_call_id=row["tool_call_id"],
        name=row["name"],
    )


def _line(row: asyncpg.Record, excerpt: str) -> ConversationLine:
    return ConversationLine(**dict(row), excerpt=excerpt)


def _cursor(line: ConversationLine) -> str:
    return f"{_seconds(line.last_inbound_at)}~{line.id}"


def _seconds(at: datetime | None) -> str:
    return "-" if at is None else f"{at.timestamp():.6f}"
