# ruff: noqa: S608 -- only constants of this file are formatted into statements
"""Replies that need a person, as the console lists them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from models.console import ReplyPage
from models.conversations import Reply, ReplyStatus
from serve_app.store.pool import Connection
from serve_app.store.replies import REPLY_COLUMNS
from serve_app.store.values import pattern, text

# In the words of the partial index replies_by_state, so that it serves.
_ATTENTION = "status IN ('unknown', 'parked', 'failed')"
_COUNT = f"SELECT status, count(*) FROM replies WHERE {_ATTENTION} GROUP BY status"
_LATEST = f"""
    SELECT {REPLY_COLUMNS} FROM replies
    WHERE {_ATTENTION} AND status = $1
        AND ($2::timestamptz IS NULL OR (updated_at, id) < ($2, $3))
        AND ($4::text IS NULL OR id = $5 OR recipient ILIKE $4 OR body ILIKE $4
            OR error_message ILIKE $4 OR error_code::text = $5)
    ORDER BY updated_at DESC, id DESC LIMIT $6
"""
_CURSOR = re.compile(r"([a-z]+)~([^~]+)~(.+)", re.DOTALL)


async def list_replies(
    connection: Connection,
    *,
    states: Sequence[ReplyStatus],
    search: str,
    after: str | None,
    limit: int,
) -> ReplyPage:
    counts = {ReplyStatus(row["status"]): row["count"] for row in await connection.fetch(_COUNT)}
    position = _position(after, states)
    words = (text(search) or "").strip() or None
    found: list[Reply] = []
    for state in states:
        at, reply_id = None, None
        if position is not None:
            last_state, at, reply_id = position
            if states.index(state) < states.index(last_state):
                continue
            if state is not last_state:
                at, reply_id = None, None
        rows = await connection.fetch(
            _LATEST,
            state.value,
            at,
            reply_id,
            words and f"%{pattern(words)}%",
            words,
            limit + 1 - len(found),
        )
        found += [Reply(**dict(row)) for row in rows]
        if len(found) > limit:
            break
    shown = found[:limit]
    last = shown[-1] if len(found) > limit and shown else None
    return ReplyPage(
        replies=tuple(shown),
        total=sum(counts.get(state, 0) for state in states),
        after=f"{last.status}~{last.changed_at.isoformat()}~{last.id}"
        if last and last.changed_at
        else None,
    )


def _position(
    after: str | None, states: Sequence[ReplyStatus]
) -> tuple[ReplyStatus, datetime, str] | None:
    """None too for what isn't one of our own cursors: the list begins anew."""
    parts = _CURSOR.fullmatch(after or "")
    if parts is None:
        return None
    try:
        state, at = ReplyStatus(parts[1]), datetime.fromisoformat(parts[2])
    except ValueError:
        return None
    return (state, at, text(parts[3])) if state in states and at.tzinfo else None
