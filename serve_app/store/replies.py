"""Replies and what became of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

import structlog

from models.conversations import DeliveryCount, Reply, ReplyStatus
from models.messages import SentMessage, StatusUpdate
from serve_app.ports import Clock
from serve_app.store.delivery_counts import delivery_counts
from serve_app.store.pool import Connection, StorePool
from serve_app.store.reply_states import (
    CAME_FROM,
    DROPPED_FROM,
    MISTAKEN,
    OPTED_OUT,
    RESENT_FROM,
    TAKEN_OVER,
    TEMPLATE_SENT,
    WINDOW_CLOSED,
    after_report,
)
from serve_app.store.usage import COUNT_SEGMENTS, count_segments
from serve_app.store.values import text

REPLY_COLUMNS = (
    "id, turn_id, conversation_id, conversation_key, channel, account_sid, sender, recipient,"
    " position, body, purpose, as_template, segments, buttons, not_before, status, provider_message_id,"
    " delivery, error_code, error_message, sending_since, updated_at AS changed_at, trace,"
    " (SELECT v.account_id FROM conversations v WHERE v.id = replies.conversation_id) AS account_id"
)
# Where another table with such columns is in the statement, too.
_RETURNED = ", ".join(
    column if column.startswith("(") else f"replies.{column}"
    for column in REPLY_COLUMNS.split(", ")
)
# Constants of this file, never values, are what the queries are put together from.
_BY_ID = f"SELECT {REPLY_COLUMNS} FROM replies WHERE id = $1"  # noqa: S608
_BY_TURNS = f"SELECT {REPLY_COLUMNS} FROM replies WHERE turn_id = ANY($1) ORDER BY seq"  # noqa: S608
_UNSENT = f"""
    SELECT {REPLY_COLUMNS} FROM replies
    WHERE status IN ('pending', 'sending', 'unknown') AND updated_at <= now() - make_interval(secs => $1)
        AND (not_before IS NULL OR not_before <= now())
    ORDER BY updated_at, seq LIMIT $2
"""  # noqa: S608
_IN_STATES = f"""
    SELECT {REPLY_COLUMNS} FROM replies WHERE status = ANY($1) ORDER BY updated_at, seq LIMIT $2
"""  # noqa: S608
# In the words of the partial indexes replies_unsent and replies_attention, so that they serve.
_COUNT_OPEN = """
SELECT status, count(*) FROM replies WHERE status IN ('pending', 'sending', 'unknown')
GROUP BY status
UNION ALL
SELECT status, count(*) FROM replies
WHERE status IN ('unknown', 'parked', 'failed') AND status <> 'unknown'
GROUP BY status
"""
# A report of what was sent before a resend tells nothing of the reply any more.
_REPORTED_BY_ID = f"""
    SELECT {REPLY_COLUMNS} FROM replies
    WHERE id = $1 AND account_sid = $2 AND $3 <> ALL (former_message_ids) FOR NO KEY UPDATE
"""  # noqa: S608
_REPORTED_BY_PROVIDER_ID = f"""
    SELECT {REPLY_COLUMNS} FROM replies WHERE provider_message_id = $1 AND account_sid = $2
    FOR NO KEY UPDATE
"""  # noqa: S608
# Contact and conversation are locked, in this order as everywhere: an opt-out or a take-over is either
# seen here or waits until the reply is `sending`.
_MARK_SENDING = f"""
    WITH contact AS (
        SELECT k.id, k.opted_out_at FROM contacts k
        WHERE k.id = (SELECT v.contact_id FROM conversations v
            JOIN replies r ON r.conversation_id = v.id WHERE r.id = $1)
        FOR SHARE
    ), conversation AS (
        SELECT v.id, v.takeovers, v.last_inbound_at, contact.opted_out_at
        FROM contact JOIN conversations v ON v.contact_id = contact.id
        WHERE v.id = (SELECT r.conversation_id FROM replies r WHERE r.id = $1)
        FOR SHARE OF v
    ), look AS (
        SELECT r.id, late.closed, CASE
            WHEN c.opted_out_at IS NOT NULL AND r.purpose <> 'opt_out' THEN $3::text
            WHEN c.takeovers <> r.takeovers AND r.purpose = 'answer' THEN $4
            WHEN (late.closed OR r.as_template) AND NOT $7::boolean THEN $5
            WHEN (late.closed OR r.as_template) AND EXISTS (SELECT FROM replies e WHERE e.turn_id = r.turn_id
                AND e.position < r.position AND e.as_template) THEN $6
            END AS obstacle
        FROM replies r, conversation c, LATERAL (SELECT coalesce(
            coalesce($9::timestamptz, now()) > c.last_inbound_at + make_interval(secs => $8), false
        )) AS late (closed)
        WHERE r.id = $1
    )
    UPDATE replies SET
        status = CASE WHEN look.obstacle IS NULL THEN 'sending' ELSE 'canceled' END,
        as_template = as_template OR (look.closed AND look.obstacle IS NULL),
        sending_since = CASE WHEN look.obstacle IS NULL THEN now() END,
        error_code = NULL, error_message = look.obstacle, updated_at = now()
    FROM look WHERE replies.id = look.id AND status = ANY($2)
    RETURNING {_RETURNED}
"""  # noqa: S608
# With the statement that ends it, so that an SMS is counted exactly when it is marked.
_MARK_SENT = f"""
    WITH accepted AS (
        UPDATE replies SET status = 'sent', provider_message_id = $3, delivery = $4,
            error_code = NULL, error_message = NULL, updated_at = now()
        WHERE id = $1 AND status = ANY($5) RETURNING conversation_id, segments
    )
    {COUNT_SEGMENTS}
"""  # noqa: S608

log = structlog.get_logger(__name__)


class PostgresReplyRepository:
    """Every change is a compare-and-set on the states in `reply_states`: where the reply is in none of
    them any more, nothing happens. `clock` decides how long ago a contact wrote; without one Postgres does.
    """

    def __init__(self, *, pool: StorePool, clock: Clock | None = None) -> None:
        self._pool = pool
        self._clock = clock

    def _now(self) -> datetime | None:
        return None if self._clock is None else self._clock.now()

    async def get(self, reply_id: str) -> Reply | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(_BY_ID, text(reply_id))
        return None if row is None else Reply(**dict(row))

    async def for_turns(self, turn_ids: Sequence[str]) -> list[Reply]:
        async with self._pool.connection() as connection:
            return await replies_of(connection, turn_ids)

    async def unsent(self, *, older_than_s: float, limit: int) -> list[Reply]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(_UNSENT, older_than_s, limit)
        return [Reply(**dict(row)) for row in rows]

    async def mark_sending(
        self, reply_id: str, *, window_s: float | None = None, has_template: bool = False
    ) -> Reply | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                _MARK_SENDING,
                reply_id,
                _from(ReplyStatus.SENDING),
                OPTED_OUT,
                TAKEN_OVER,
                WINDOW_CLOSED,
                TEMPLATE_SENT,
                has_template,
                window_s,
                self._now(),
            )
        if row is None:
            return None
        reply = Reply(**dict(row))
        return reply if reply.status is ReplyStatus.SENDING else None

    async def mark_pending(self, reply_id: str, *, as_template: bool = False) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                UPDATE replies SET status = 'pending', sending_since = NULL, updated_at = now(),
                    as_template = as_template OR $3
                WHERE id = $1 AND status = ANY($2)
                """,
                reply_id,
                _from(ReplyStatus.PENDING),
                as_template,
            )

    async def mark_sent(self, reply_id: str, sent: SentMessage) -> None:
        """After a delivery report, which says more, this changes nothing."""
        async with self._pool.connection() as connection:
            await connection.execute(
                _MARK_SENT,
                reply_id,
                self._now(),
                sent.message_id,
                sent.status.value,
                _from(ReplyStatus.SENT),
            )

    async def mark_unknown(self, reply_id: str, *, error: str) -> None:
        await self._end(reply_id, ReplyStatus.UNKNOWN, code=None, error=error)

    async def mark_failed(self, reply_id: str, *, code: int | None, error: str) -> None:
        await self._end(reply_id, ReplyStatus.FAILED, code=code, error=error)

    async def mark_canceled(self, reply_id: str, *, error: str) -> None:
        await self._end(reply_id, ReplyStatus.CANCELED, code=None, error=error)

    async def park(self, reply_id: str, *, error: str) -> None:
        await self._end(reply_id, ReplyStatus.PARKED, code=None, error=error)

    async def _end(
        self, reply_id: str, status: ReplyStatus, *, code: int | None, error: str
    ) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                UPDATE replies SET status = $2, error_code = $3, error_message = $4,
                    updated_at = now()
                WHERE id = $1 AND status = ANY($5)
                """,
                reply_id,
                status.value,
                code,
                text(error),
                _from(status),
            )

    async def count_open(self) -> dict[ReplyStatus, int]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(_COUNT_OPEN)
        return {ReplyStatus(row["status"]): row["count"] for row in rows}

    async def in_states(self, states: Collection[ReplyStatus], *, limit: int) -> list[Reply]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(_IN_STATES, [state.value for state in states], limit)
        return [Reply(**dict(row)) for row in rows]

    async def resend(self, reply_id: str) -> bool:
        async with self._pool.connection() as connection:
            result = await connection.execute(
                """
                UPDATE replies SET status = 'pending', sending_since = NULL, delivery = NULL,
                    not_before = NULL, former_message_ids = CASE WHEN provider_message_id IS NULL
                        THEN former_message_ids
                        ELSE array_append(former_message_ids, provider_message_id) END,
                    provider_message_id = NULL, error_code = NULL, error_message = NULL,
                    updated_at = now()
                WHERE id = $1 AND status = ANY($2)
                """,
                text(reply_id),
                [state.value for state in RESENT_FROM],
            )
        return result == "UPDATE 1"

    async def drop(self, reply_id: str, *, error: str) -> bool:
        async with self._pool.connection() as connection:
            result = await connection.execute(
                """
                UPDATE replies SET status = 'canceled', error_message = $2, updated_at = now()
                WHERE id = $1 AND status = ANY($3)
                """,
                text(reply_id),
                text(error),
                [state.value for state in DROPPED_FROM],
            )
        return result == "UPDATE 1"

    async def template_words(self, reply_id: str) -> dict[str, str]:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT k.profile_name AS name, o.name AS business FROM replies r
                JOIN conversations v ON v.id = r.conversation_id
                JOIN contacts k ON k.id = v.contact_id
                JOIN owners o ON o.id = v.owner_id
                WHERE r.id = $1
                """,
                text(reply_id),
            )
        return {} if row is None else {name: value or "" for name, value in row.items()}

    async def known_provider_ids(self, message_ids: Sequence[str]) -> set[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT provider_message_id AS id FROM replies WHERE provider_message_id = ANY($1)
                UNION
                SELECT former.id FROM replies, unnest(former_message_ids) AS former (id)
                WHERE former_message_ids <> '{}' AND former_message_ids && $1
                    AND former.id = ANY($1)
                """,
                list(message_ids),
            )
        return {row["id"] for row in rows}

    async def send_again(
        self, reply_id: str, *, as_template: bool = False, after_s: float = 0.0
    ) -> bool:
        async with self._pool.connection() as connection:
            result = await connection.execute(
                """
                UPDATE replies r SET status = 'pending', sending_since = NULL, delivery = NULL,
                    former_message_ids = ARRAY[provider_message_id], provider_message_id = NULL,
                    as_template = as_template OR $2, not_before = now() + make_interval(secs => $3),
                    updated_at = now()
                WHERE id = $1 AND status = 'failed' AND provider_message_id IS NOT NULL
                    AND former_message_ids = '{}' AND NOT (as_template AND $2)
                    AND NOT EXISTS (SELECT FROM replies later
                        WHERE later.conversation_id = r.conversation_id AND later.seq > r.seq
                            AND later.status IN ('sending', 'unknown', 'sent'))
                """,
                text(reply_id),
                as_template,
                after_s,
            )
        return result == "UPDATE 1"

    async def delivery_counts(
        self, *, since: datetime, owner_id: str | None = None
    ) -> list[DeliveryCount]:
        return await delivery_counts(self._pool, since=since, owner_id=owner_id)

    async def apply_status(self, update: StatusUpdate) -> Reply | None:
        """Only replies of the account that signed the report are looked at."""
        async with self._pool.transaction() as connection:
            reply = await _reported(connection, update)
            if reply is None:
                return None
            changed = after_report(reply, update)
            if changed is None:
                log.debug("delivery_report_ignored", reply_id=reply.id, status=update.status.value)
                return reply
            moved = reply.provider_message_id is None and await _take_from_another(
                connection, update, reply.id
            )
            await connection.execute(
                """
                UPDATE replies SET status = $2, provider_message_id = $3, delivery = $4,
                    error_code = $5, error_message = $6, updated_at = now()
                WHERE id = $1
                """,
                reply.id,
                changed.status.value,
                changed.provider_message_id,
                update.status.value,
                changed.error_code,
                text(changed.error_message),
            )
            if reply.provider_message_id is None and reply.segments and not moved:
                await count_segments(connection, reply.id, now=self._now())
        return changed


async def replies_of(connection: Connection, turn_ids: Sequence[str]) -> list[Reply]:
    """In sending order."""
    rows = await connection.fetch(_BY_TURNS, list(turn_ids))
    return [Reply(**dict(row)) for row in rows]


async def _reported(connection: Connection, update: StatusUpdate) -> Reply | None:
    row = None
    account = text(update.account_id)
    if update.reply_id is not None:
        row = await connection.fetchrow(
            _REPORTED_BY_ID, text(update.reply_id), account, text(update.message_id)
        )
    if row is None:
        row = await connection.fetchrow(_REPORTED_BY_PROVIDER_ID, text(update.message_id), account)
    return None if row is None else Reply(**dict(row))


async def _take_from_another(connection: Connection, update: StatusUpdate, reply_id: str) -> bool:
    """A doubtful reply with the same text may have been matched to this message in the provider's list.
    The report knows better; whether that other reply was sent is open again, so a person must decide. True if
    there was one: its message, accepted once, has been counted."""
    parked = await connection.fetchval(
        """
        UPDATE replies SET status = 'parked', provider_message_id = NULL, delivery = NULL,
            error_code = NULL, error_message = $4, updated_at = now()
        WHERE provider_message_id = $1 AND account_sid = $2 AND id <> $3 RETURNING id
        """,
        text(update.message_id),
        text(update.account_id),
        reply_id,
        MISTAKEN,
    )
    if parked is not None:
        log.error("reply_parked", reply_id=parked, error=MISTAKEN)
    return parked is not None


def _from(status: ReplyStatus) -> list[str]:
    return [state.value for state in CAME_FROM[status]]
