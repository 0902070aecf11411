"""What the console's pages look up."""

from __future__ import annotations

from collections.abc import Sequence

from models.console import (
    AccountLine,
    ConversationPage,
    ConversationRecord,
    OwnerPage,
    ReplyPage,
    StoredInbound,
    Traffic,
    WebhookCounts,
)
from models.conversations import ReplyStatus
from serve_app.store.console_conversations import (
    list_conversations,
    read_conversation,
    stored_inbound,
)
from serve_app.store.console_owners import accounts_of, list_owners
from serve_app.store.console_replies import list_replies
from serve_app.store.console_traffic import (
    add_webhook_counts,
    read_traffic,
    read_webhook_counts,
)
from serve_app.store.pool import StorePool
from serve_app.store.values import text


class PostgresConsoleViews:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def conversations(
        self, *, search: str, only_people: bool, after: str | None, limit: int
    ) -> ConversationPage:
        async with self._pool.connection() as connection:
            return await list_conversations(
                connection, search=search, only_people=only_people, after=after, limit=limit
            )

    async def conversation(self, conversation_id: str, *, limit: int) -> ConversationRecord | None:
        async with self._pool.connection() as connection:
            return await read_conversation(connection, conversation_id, limit=limit)

    async def replies(
        self, *, states: Sequence[ReplyStatus], search: str, after: str | None, limit: int
    ) -> ReplyPage:
        async with self._pool.connection() as connection:
            return await list_replies(
                connection, states=states, search=search, after=after, limit=limit
            )

    async def owners(self, *, search: str, after: str | None, limit: int) -> OwnerPage:
        async with self._pool.connection() as connection:
            return await list_owners(connection, search=search, after=after, limit=limit)

    async def accounts_of(self, owner_id: str) -> list[AccountLine]:
        async with self._pool.connection() as connection:
            return await accounts_of(connection, owner_id)

    async def message(self, message_id: str) -> StoredInbound | None:
        async with self._pool.connection() as connection:
            row = await connection.fetchrow(
                """
                SELECT id, seq, payload, received_at, transcript, audio_seconds, turn_id
                FROM messages WHERE id = $1
                """,
                text(message_id),
            )
        return None if row is None else stored_inbound(row)

    async def traffic(self, *, seconds: float, points: int) -> Traffic:
        async with (
            self._pool.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            return await read_traffic(connection, seconds=seconds, points=points)

    async def add_webhooks(self, replica: str, counts: WebhookCounts) -> None:
        async with self._pool.connection() as connection:
            await add_webhook_counts(connection, replica, counts)

    async def webhooks(self, *, seconds: float) -> WebhookCounts:
        async with self._pool.connection() as connection:
            return await read_webhook_counts(connection, seconds=seconds)
