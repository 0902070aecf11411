"""The transaction that ends a turn. It writes everything or nothing."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import asyncpg

from models.conversations import CommittedTurn, Reply, ReplyPurpose, TurnOutcome
from models.errors import PermanentError
from serve_app.store.pool import Connection, StorePool
from serve_app.store.replies import REPLY_COLUMNS
from serve_app.store.silence import silence_sql
from serve_app.store.usage import keep_within_quota, month_sql
from serve_app.store.values import json_text, jsonable, text

_ARGUMENTS = (
    "conversation",
    "turn",
    "owner",
    "takeovers",
    "answers",
    "others_speak",
    "hand_over",
    "messages",
    "now",
    "prompt_tokens",
    "completion_tokens",
    "audio_seconds",
    "timings",
    "trace",
    "language",
    "timezone",
    "entries",
    "notes",
    "replies",
    "checked",
)
"""What the statement's `{names}` stand for, in the order of `_values`."""

# One statement, so that a turn's end costs one round trip and holds its locks no longer than that. Rows are
# locked in the order in which recording a message locks them: contact, conversation, messages; each step
# reads the one before, which is what keeps the order. The month of the owner, which all its conversations
# share, comes last, or just before a place in its quota, as in `reserve`.
#
# All that is written hangs on `turn`, which stays away if another try has ended this turn or has one of its
# messages (`mine` waits for that try and sees what it did), or if it counts without a place in the quota.
_END = """
WITH contact AS (
    SELECT k.id, k.address, k.opted_out_at FROM contacts k
    WHERE k.id = (SELECT v.contact_id FROM conversations v WHERE v.id = {conversation})
    FOR NO KEY UPDATE
), conversation AS (
    SELECT v.id, v.key, v.channel, v.account_sid, v.recipient, v.human, v.takeovers,
        contact.id AS contact_id, contact.address, {silence} AS silence
    FROM contact, conversations v WHERE v.id = {conversation} FOR NO KEY UPDATE OF v
), judged AS (
    SELECT c.*, c.silence IS NULL AND {answers}::boolean AS counts,
        c.silence IS NULL OR {others_speak}::boolean AS speaks
    FROM conversation c
), mine AS (
    SELECT m.id FROM judged, messages m WHERE m.id = ANY ({messages}::text[]) AND m.turn_id IS NULL
    ORDER BY m.id FOR NO KEY UPDATE OF m
), plan AS (
    SELECT o.id AS owner_id, p.monthly_messages AS quota, {month} AS month
    FROM owners o JOIN plans p ON p.code = o.plan_code WHERE o.id = {owner}
), this_month AS (
    SELECT u.month FROM judged, plan, usage u
    WHERE judged.counts AND plan.quota IS NOT NULL AND u.owner_id = plan.owner_id
        AND u.month = plan.month
    FOR NO KEY UPDATE OF u
), place AS (
    SELECT r.turn_id FROM this_month, reservations r
    WHERE r.turn_id = {turn} AND r.month = this_month.month FOR UPDATE OF r
), turn AS (
    INSERT INTO turns (id, conversation_id, owner_id, hand_over, prompt_tokens, completion_tokens,
        audio_seconds, timings, trace)
    SELECT {turn}, judged.id, {owner}, {hand_over}::boolean AND judged.speaks, {prompt_tokens},
        {completion_tokens}, {audio_seconds}, {timings}::text::jsonb, {trace}
    FROM judged
    WHERE (SELECT count(*) FROM mine) = cardinality({messages}) AND (
        NOT judged.counts OR (SELECT plan.quota FROM plan) IS NULL OR EXISTS (SELECT FROM place)
        OR {checked}::boolean)
    ON CONFLICT (id) DO NOTHING RETURNING id, hand_over
), answered AS (
    UPDATE messages SET turn_id = turn.id, updated_at = now()
    FROM turn WHERE messages.id = ANY ({messages})
), handed_over AS (
    UPDATE conversations v SET human = v.human OR turn.hand_over, updated_at = now(),
        takeovers = v.takeovers + (turn.hand_over AND NOT v.human)::integer
    FROM turn WHERE v.id = {conversation} AND (turn.hand_over OR cardinality({messages}) = 0)
), learned AS (
    UPDATE contacts k SET language = coalesce({language}, k.language),
        timezone = coalesce({timezone}, k.timezone), updated_at = now()
    FROM turn, judged WHERE k.id = judged.contact_id
        AND ({language}::text IS NOT NULL OR {timezone}::text IS NOT NULL)
), remembered AS (
    INSERT INTO entries (conversation_id, turn_id, role, content, tool_calls, tool_call_id, name)
    SELECT judged.id, turn.id, new.role, new.content, new.tool_calls, new.tool_call_id, new.name
    FROM turn, judged, ROWS FROM (jsonb_to_recordset({entries}::text::jsonb) AS
        (role text, content text, tool_calls jsonb, tool_call_id text, name text)
    ) WITH ORDINALITY AS new (role, content, tool_calls, tool_call_id, name, n)
    WHERE judged.speaks OR new.role = 'user' ORDER BY new.n
), noted AS (
    INSERT INTO notes (id, owner_id, conversation_id, kind, destination, target, content)
    SELECT new.id, {owner}, judged.id, new.kind, new.destination, new.target, new.content
    FROM turn, judged, jsonb_to_recordset({notes}::text::jsonb) AS new
        (id text, kind text, destination text, target text, content jsonb)
    WHERE turn.hand_over ON CONFLICT (id) DO NOTHING
), replied AS (
    INSERT INTO replies (id, turn_id, conversation_id, conversation_key, channel, account_sid,
        sender, recipient, position, body, purpose, segments, buttons, takeovers, status,
        error_message, trace)
    SELECT new.id, turn.id, j.id, j.key, j.channel, j.account_sid, j.recipient, j.address,
        new.position, new.body, new.purpose, new.segments,
        ARRAY(SELECT jsonb_array_elements_text(new.buttons)),
        j.takeovers + (turn.hand_over AND NOT j.human)::integer,
        CASE WHEN late.silent THEN 'canceled' ELSE 'pending' END,
        CASE WHEN late.silent THEN j.silence END, {trace}
    FROM turn, judged j, jsonb_to_recordset({replies}::text::jsonb) AS new (id text, position integer,
            body text, purpose text, segments integer, buttons jsonb),
        LATERAL (SELECT j.silence IS NOT NULL AND new.purpose = 'answer') AS late (silent)
    ORDER BY new.position RETURNING {columns}
), used AS (
    INSERT INTO usage AS u
        (owner_id, month, messages, audio_seconds, prompt_tokens, completion_tokens)
    SELECT plan.owner_id, plan.month, judged.counts::integer, {audio_seconds}, {prompt_tokens},
        {completion_tokens}
    FROM turn, judged, plan
    ON CONFLICT (owner_id, month) DO UPDATE SET
        messages = u.messages + excluded.messages,
        audio_seconds = u.audio_seconds + excluded.audio_seconds,
        prompt_tokens = u.prompt_tokens + excluded.prompt_tokens,
        completion_tokens = u.completion_tokens + excluded.completion_tokens,
        updated_at = now()
    RETURNING u.month, u.messages
), freed AS (
    DELETE FROM reservations r USING used WHERE r.turn_id = {turn}
    RETURNING r.month = used.month AS held
)
SELECT turn.id IS NOT NULL AS ended, judged.counts AND plan.quota IS NOT NULL AS limited,
    plan.quota, used.month, used.messages, coalesce(freed.held, false) AS held, replied.*
FROM judged LEFT JOIN plan ON true LEFT JOIN turn ON true LEFT JOIN used ON true
    LEFT JOIN freed ON true LEFT JOIN replied ON true
ORDER BY replied.position
""".format(  # noqa: S608 - constants of this package
    **{name: f"${number}" for number, name in enumerate(_ARGUMENTS, 1)},
    silence=silence_sql(f"${_ARGUMENTS.index('takeovers') + 1}"),
    month=month_sql(f"${_ARGUMENTS.index('now') + 1}"),
    columns=REPLY_COLUMNS,
)


async def end_turn(
    pool: StorePool, outcome: TurnOutcome, *, now: datetime | None
) -> CommittedTurn | None:
    """None if another try ended this turn, or one of its messages', first. Raises `PermanentError` if there
    is no such conversation, `RetryableError` if the turn has no place in the quota and there is no other."""
    async with pool.connection() as connection:
        rows = await _end(connection, outcome, now=now)
    if rows[0]["ended"] or not rows[0]["limited"]:
        return _committed(rows)
    # Either another try was first, or the place in the quota is gone and there may be another.
    async with pool.transaction() as connection:
        rows = await _end(connection, outcome, now=now, quota_is_checked=True)
        ended = rows[0]
        if ended["ended"] and ended["limited"] and not ended["held"]:
            await keep_within_quota(
                connection,
                outcome.owner_id,
                month=ended["month"],
                quota=ended["quota"],
                used=ended["messages"],
            )
    return _committed(rows)


async def _end(
    connection: Connection,
    outcome: TurnOutcome,
    *,
    now: datetime | None,
    quota_is_checked: bool = False,
) -> list[asyncpg.Record]:
    """At least one row; where there are replies, a row for each."""
    rows = await connection.fetch(_END, *_values(outcome, now), quota_is_checked)
    if not rows:
        raise PermanentError(f"there is no conversation {outcome.conversation_id}")
    return rows


def _values(outcome: TurnOutcome, now: datetime | None) -> tuple[Any, ...]:
    answers = bool(outcome.message_ids) and bool(outcome.replies) and not outcome.refused
    return (
        outcome.conversation_id,
        outcome.turn_id,
        outcome.owner_id,
        outcome.takeovers,
        answers,
        any(reply.purpose is not ReplyPurpose.ANSWER for reply in outcome.replies),
        outcome.hand_over,
        sorted(set(outcome.message_ids)),
        now,
        outcome.usage.prompt_tokens,
        outcome.usage.completion_tokens,
        outcome.audio_seconds,
        json_text(outcome.timings),
        jsonable(outcome.trace),
        text(outcome.contact_language),
        text(outcome.contact_timezone),
        json_text(outcome.entries),
        json_text(outcome.notes),
        json_text(outcome.replies),
    )


def _committed(rows: list[asyncpg.Record]) -> CommittedTurn | None:
    if not rows[0]["ended"]:
        return None
    fields = Reply.model_fields
    return CommittedTurn(
        replies=tuple(
            Reply(**{name: value for name, value in row.items() if name in fields})
            for row in rows
            if row["id"] is not None
        )
    )
