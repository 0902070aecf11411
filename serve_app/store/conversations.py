"""Conversations: what contacts wrote, what was answered, and where a message is."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from models.accounts import TwilioAccount
from models.conversations import (
    CommittedTurn,
    Contact,
    Conversation,
    HistoryEntry,
    MessageProgress,
    StepTiming,
    StoredMessage,
    TurnOutcome,
)
from models.errors import PermanentError
from models.inference import ToolCall
from models.messages import InboundMessage
from serve_app.ports import Clock
from serve_app.store.accounts import owner_of
from serve_app.store.external_ids import adopt_external_id, known_as
from serve_app.store.pool import StorePool
from serve_app.store.recording import record_messages
from serve_app.store.replies import replies_of
from serve_app.store.turns import end_turn
from serve_app.store.values import jsonable, text


class PostgresConversationRepository:
    """`clock` decides in which month a turn is counted; without one Postgres does."""

    def __init__(self, *, pool: StorePool, clock: Clock | None = None) -> None:
        self._pool = pool
        self._clock = clock

    async def record(
        self, messages: Sequence[InboundMessage], *, owner_id: str, account: TwilioAccount
    ) -> tuple[Conversation, list[StoredMessage]]:
        if len({message.conversation_key for message in messages}) != 1:
            raise PermanentError("messages of exactly one conversation can be recorded together")
        latest = messages[-1]
        if latest.contact_key == latest.sender:
            async with self._pool.connection() as connection:
                return await record_messages(
                    connection, messages, owner_id=owner_id, account=account
                )
        async with self._pool.transaction() as connection:
            await adopt_external_id(connection, latest, owner_id)
            return await record_messages(connection, messages, owner_id=owner_id, account=account)

    async def known_as(self, message: InboundMessage) -> str:
        async with self._pool.connection() as connection:
            owner_id = await owner_of(
                connection,
                account_sid=message.account_id,
                address=message.recipient,
                messaging_service_sid=message.messaging_service_id,
            )
            if owner_id is None:
                return message.contact_key
            return await known_as(connection, message, owner_id)

    async def save_transcript(
        self, message_id: str, *, text: str, language: str | None, audio_seconds: float
    ) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(
                """
                UPDATE messages SET transcript = $2, transcript_language = $3, audio_seconds = $4,
                    updated_at = now()
                WHERE id = $1
                """,
                message_id,
                jsonable(text),
                language,
                audio_seconds,
            )

    async def history(self, conversation_id: str, *, limit: int) -> list[HistoryEntry]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT role, content, tool_calls, tool_call_id, name FROM entries
                WHERE conversation_id = $1 ORDER BY seq DESC LIMIT $2
                """,
                text(conversation_id),
                limit,
            )
        entries = [
            HistoryEntry(
                role=row["role"],
                content=row["content"],
                tool_calls=tuple(ToolCall(**call) for call in row["tool_calls"]),
                tool_call_id=row["tool_call_id"],
                name=row["name"],
            )
            for row in reversed(rows)
        ]
        first = next((i for i, entry in enumerate(entries) if entry.role == "user"), len(entries))
        return entries[first:]

    async def commit_turn(self, outcome: TurnOutcome) -> CommittedTurn | None:
        now = None if self._clock is None else self._clock.now()
        return await end_turn(self._pool, outcome, now=now)

    async def is_human(self, conversation_id: str) -> bool:
        async with self._pool.connection() as connection:
            human = await connection.fetchval(
                "SELECT human FROM conversations WHERE id = $1", text(conversation_id)
            )
        return bool(human)

    async def with_people(self, *, limit: int) -> list[Conversation]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT v.id, v.account_id, v.recipient, v.human, v.takeovers, v.last_inbound_at,
                    c.id AS contact_id, c.owner_id, c.channel, c.key, c.address, c.profile_name,
                    c.language, c.timezone, c.opted_out_at
                FROM conversations v JOIN contacts c ON c.id = v.contact_id
                WHERE v.human
                ORDER BY v.last_inbound_at DESC NULLS LAST, v.id
                LIMIT $1
                """,
                limit,
            )
        return [
            Conversation(
                id=row["id"],
                owner_id=row["owner_id"],
                account_id=row["account_id"],
                contact=Contact(
                    id=row["contact_id"],
                    owner_id=row["owner_id"],
                    channel=row["channel"],
                    key=row["key"],
                    address=row["address"],
                    profile_name=row["profile_name"],
                    language=row["language"],
                    opted_out_at=row["opted_out_at"],
                    timezone=row["timezone"],
                ),
                recipient=row["recipient"],
                human=row["human"],
                takeovers=row["takeovers"],
                last_inbound_at=row["last_inbound_at"],
            )
            for row in rows
        ]

    async def set_human(self, conversation_id: str, *, human: bool) -> bool:
        async with self._pool.connection() as connection:
            found = await connection.fetchval(
                """
                UPDATE conversations SET human = $2, takeovers = takeovers + ($2 AND NOT human)::int,
                    updated_at = now()
                WHERE id = $1 RETURNING true
                """,
                text(conversation_id),
                human,
            )
        return bool(found)

    async def answered(
        self, *, channel: str, account_sid: str, message_ids: Sequence[str]
    ) -> set[str]:
        async with self._pool.connection() as connection:
            rows = await connection.fetch(
                """
                SELECT provider_message_id FROM messages
                WHERE account_sid = $1 AND provider_message_id = ANY($2) AND channel = $3
                    AND turn_id IS NOT NULL
                """,
                text(account_sid),
                [text(message_id) for message_id in message_ids],
                channel,
            )
        return {row["provider_message_id"] for row in rows}

    async def forget_media(self, *, before: datetime, limit: int) -> int:
        async with self._pool.connection() as connection:
            changed = await connection.execute(
                """
                UPDATE messages SET payload = jsonb_set(payload, '{media}', '[]'), updated_at = now()
                WHERE id IN (
                    SELECT id FROM messages
                    WHERE jsonb_array_length(payload -> 'media') > 0 AND received_at < $1
                    ORDER BY received_at LIMIT $2 FOR UPDATE SKIP LOCKED
                )
                """,
                before,
                limit,
            )
        return int(changed.removeprefix("UPDATE "))

    async def quoted(self, conversation_id: str, *, message_id: str) -> str | None:
        async with self._pool.connection() as connection:
            found = await connection.fetchval(
                """
                SELECT body FROM replies
                WHERE conversation_id = $1 AND provider_message_id = $2
                UNION ALL
                SELECT concat_ws(E'\\n', nullif(payload->>'body', ''), transcript) FROM messages
                WHERE conversation_id = $1 AND provider_message_id = $2
                LIMIT 1
                """,
                text(conversation_id),
                text(message_id),
            )
        return found or None

    async def progress(self, *, account_sid: str, message_id: str) -> MessageProgress | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT m.provider_message_id, m.received_at, m.transcript, m.turn_id, t.timings
                FROM messages m LEFT JOIN turns t ON t.id = m.turn_id
                WHERE m.account_sid = $1 AND m.provider_message_id = $2
                """,
                text(account_sid),
                text(message_id),
            )
            if row is None:
                return None
            turn_id = row["turn_id"]
            replies = [] if turn_id is None else await replies_of(connection, [turn_id])
        return MessageProgress(
            message_id=row["provider_message_id"],
            received_at=row["received_at"],
            transcript=row["transcript"],
            turn_id=turn_id,
            timings=tuple(StepTiming(**timing) for timing in row["timings"] or ()),
            replies=tuple(replies),
        )
