"""The transaction that ends a turn. It writes everything or nothing."""

from __future__ import annotations

import json
from datetime import datetime

from models.conversations import TurnOutcome
from models.errors import PermanentError
from serve_app.store.notes import write_notes
from serve_app.store.pool import Connection
from serve_app.store.silence import obstacle, silenced
from serve_app.store.usage import count_turn
from serve_app.store.values import jsonable, text


class LostRaceError(Exception):
    """Another try ended this turn, or one of its messages', first: roll back."""


async def write_turn(connection: Connection, outcome: TurnOutcome, *, now: datetime | None) -> None:
    """Raises `LostRaceError`, and `PermanentError` if the conversation doesn't exist.

    Rows are locked in the order in which recording a message locks them: contact, conversation,
    messages. The owner's usage, which all its conversations share, comes last and is held shortly.
    """
    if outcome.contact_language is not None or outcome.contact_timezone is not None:
        await connection.execute(
            """
            UPDATE contacts SET language = coalesce($2, language),
                timezone = coalesce($3, timezone), updated_at = now()
            WHERE id = (SELECT contact_id FROM conversations WHERE id = $1)
            """,
            outcome.conversation_id,
            text(outcome.contact_language),
            text(outcome.contact_timezone),
        )
    found = await connection.fetchrow(
        """
        SELECT v.human, v.takeovers, k.opted_out_at FROM conversations v
        JOIN contacts k ON k.id = v.contact_id WHERE v.id = $1 FOR NO KEY UPDATE OF v
        """,
        outcome.conversation_id,
    )
    if found is None:
        raise PermanentError(f"there is no conversation {outcome.conversation_id}")
    why_silent = obstacle(
        outcome,
        human=found["human"],
        takeovers=found["takeovers"],
        opted_out=found["opted_out_at"] is not None,
    )
    if why_silent:
        outcome = silenced(outcome)
    await connection.execute(
        """
        UPDATE conversations SET human = human OR $2, takeovers = takeovers + ($2 AND NOT human)::int,
            updated_at = now()
        WHERE id = $1
        """,
        outcome.conversation_id,
        outcome.hand_over,
    )
    await _claim_messages(connection, outcome)
    await _write_entries(connection, outcome)
    await _write_replies(connection, outcome, why_silent)
    await write_notes(connection, outcome)
    answered = why_silent is None and bool(outcome.message_ids) and bool(outcome.replies)
    await count_turn(connection, outcome, answered=answered, now=now)


async def _claim_messages(connection: Connection, outcome: TurnOutcome) -> None:
    inserted = await connection.execute(
        """
        INSERT INTO turns (id, conversation_id, owner_id, hand_over, prompt_tokens,
            completion_tokens, audio_seconds, timings, trace)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (id) DO NOTHING
        """,
        outcome.turn_id,
        outcome.conversation_id,
        outcome.owner_id,
        outcome.hand_over,
        outcome.usage.prompt_tokens,
        outcome.usage.completion_tokens,
        outcome.audio_seconds,
        jsonable(outcome.timings),
        jsonable(outcome.trace),
    )
    if inserted != "INSERT 0 1":
        raise LostRaceError
    ids = sorted(set(outcome.message_ids))
    claimed = await connection.execute(
        """
        UPDATE messages SET turn_id = $1, updated_at = now()
        WHERE id = ANY($2) AND turn_id IS NULL
        """,
        outcome.turn_id,
        ids,
    )
    if claimed != f"UPDATE {len(ids)}":
        raise LostRaceError


async def _write_entries(connection: Connection, outcome: TurnOutcome) -> None:
    if not outcome.entries:
        return
    await connection.execute(
        """
        INSERT INTO entries
            (conversation_id, turn_id, role, content, tool_calls, tool_call_id, name)
        SELECT $1, $2, new.role, new.content, new.tool_calls, new.tool_call_id, new.name
        FROM ROWS FROM (jsonb_to_recordset($3) AS
            (role text, content text, tool_calls jsonb, tool_call_id text, name text)
        ) WITH ORDINALITY AS new (role, content, tool_calls, tool_call_id, name, n)
        ORDER BY new.n
        """,
        outcome.conversation_id,
        outcome.turn_id,
        jsonable(outcome.entries),
    )


async def _write_replies(
    connection: Connection, outcome: TurnOutcome, why_silent: str | None
) -> None:
    if not outcome.replies:
        return
    replies = sorted(outcome.replies, key=lambda reply: reply.position)
    await connection.execute(
        """
        INSERT INTO replies (id, turn_id, conversation_id, conversation_key, channel, account_sid,
            sender, recipient, position, body, purpose, segments, buttons, takeovers, status,
            error_message, trace)
        SELECT new.id, $2, c.id, c.key, c.channel, c.account_sid, c.recipient, k.address,
            new.position, new.body, new.purpose, new.segments,
            ARRAY(SELECT jsonb_array_elements_text(new.buttons::jsonb)), c.takeovers,
            CASE WHEN silent THEN 'canceled' ELSE 'pending' END, CASE WHEN silent THEN $8 END, $6
        FROM conversations c
        JOIN contacts k ON k.id = c.contact_id
        CROSS JOIN unnest($3::text[], $4::integer[], $5::text[], $7::text[], $9::integer[],
            $10::text[]) AS new (id, position, body, purpose, segments, buttons)
        CROSS JOIN LATERAL (SELECT $8::text IS NOT NULL AND new.purpose = 'answer') AS judged (silent)
        WHERE c.id = $1
        ORDER BY new.position
        """,
        outcome.conversation_id,
        outcome.turn_id,
        [reply.id for reply in replies],
        [reply.position for reply in replies],
        [text(reply.body) for reply in replies],
        jsonable(outcome.trace),
        [reply.purpose.value for reply in replies],
        why_silent,
        [reply.segments for reply in replies],
        [json.dumps(jsonable(reply.buttons)) for reply in replies],
    )
