"""Opt-outs and opt-ins. What is written here counts at once for every reply that isn't on its way yet."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from models.conversations import ConsentChange
from models.messages import InboundMessage
from serve_app.store.accounts import owner_of
from serve_app.store.external_ids import adopt_external_id
from serve_app.store.pool import Connection, StorePool
from serve_app.store.values import text


class PostgresConsentRepository:
    def __init__(self, *, pool: StorePool) -> None:
        self._pool = pool

    async def apply(self, message: InboundMessage, *, stop: bool) -> ConsentChange | None:
        async with self._pool.transaction() as connection:
            owner_id = await owner_of(
                connection,
                account_sid=message.account_id,
                address=message.recipient,
                messaging_service_sid=message.messaging_service_id,
            )
            if owner_id is None:
                return None
            # Rows of contacts are what a reply about to be sent, and another consent, wait for.
            others = await _others_at(connection, message, owner_id)
            await adopt_external_id(connection, message, owner_id)
            contact_id = await connection.fetchval(
                """
                INSERT INTO contacts (owner_id, channel, key, address) VALUES ($1, $2, $3, $4)
                ON CONFLICT (owner_id, channel, key) DO UPDATE SET address = excluded.address
                RETURNING id
                """,
                owner_id,
                message.channel,
                text(message.contact_key),
                text(message.sender),
            )
            take_down = partial(
                _take_down,
                connection,
                message_id=text(message.message_id),
                stop=stop,
                source="provider" if message.opt_out_type else "keyword",
                at=message.received_at,
            )
            changed = await take_down(contact_id)
            if stop:
                # Whoever else was known by this address: what is sent to them comes to the same phone.
                for other in others:
                    if other != contact_id:
                        await take_down(other)
        return ConsentChange(contact_id=contact_id, changed=changed)

    async def refused(self, reply_id: str, *, at: datetime) -> bool:
        async with self._pool.transaction() as connection:
            contact_id = await connection.fetchval(
                """
                SELECT k.id FROM contacts k JOIN conversations v ON v.contact_id = k.id
                JOIN replies r ON r.conversation_id = v.id WHERE r.id = $1 FOR NO KEY UPDATE OF k
                """,
                text(reply_id),
            )
            if contact_id is None:
                return False
            return await _take_down(
                connection,
                contact_id,
                message_id=text(reply_id),
                stop=True,
                source="refusal",
                at=at,
            )

    async def has_stopped(self, *, owner_id: str, channel: str, address: str) -> bool:
        async with self._pool.connection() as connection:
            return await connection.fetchval(
                """
                SELECT EXISTS (SELECT FROM contacts WHERE owner_id = $1 AND channel = $2
                    AND address = $3 AND opted_out_at IS NOT NULL)
                """,
                text(owner_id),
                channel,
                text(address),
            )

    async def is_sending_to(self, contact_id: str) -> bool:
        async with self._pool.connection() as connection:
            return await connection.fetchval(
                """
                SELECT EXISTS (SELECT FROM contacts k
                    JOIN contacts same ON (same.owner_id, same.channel, same.address)
                        = (k.owner_id, k.channel, k.address)
                    JOIN conversations v ON v.contact_id = same.id
                    JOIN replies r ON r.conversation_id = v.id
                    WHERE k.id = $1 AND r.status = 'sending')
                """,
                text(contact_id),
            )


async def _others_at(connection: Connection, message: InboundMessage, owner_id: str) -> list[str]:
    """Contacts with the address that a message came from, locked in one order."""
    rows = await connection.fetch(
        """
        SELECT id FROM contacts WHERE owner_id = $1 AND channel = $2 AND address = $3
        ORDER BY id FOR NO KEY UPDATE
        """,
        owner_id,
        message.channel,
        text(message.sender),
    )
    return [row["id"] for row in rows]


async def _take_down(
    connection: Connection,
    contact_id: str,
    *,
    message_id: str,
    stop: bool,
    source: str,
    at: datetime,
) -> bool:
    """Whether it changed anything; of the same message, what it did the first time. One that is older
    than the latest (a webhook that came late) changes nothing."""
    row = await connection.fetchrow(
        """
        INSERT INTO consents (contact_id, message_id, action, source, at, changed)
        SELECT k.id, $2, $3, $4, $5, (k.opted_out_at IS NULL) = $6
            AND $5 >= ALL (SELECT c.at FROM consents c WHERE c.contact_id = k.id)
        FROM contacts k WHERE k.id = $1
        ON CONFLICT (contact_id, message_id) DO NOTHING RETURNING changed
        """,
        contact_id,
        message_id,
        "stop" if stop else "start",
        source,
        at,
        stop,
    )
    if row is None:
        return await connection.fetchval(
            "SELECT changed FROM consents WHERE contact_id = $1 AND message_id = $2",
            contact_id,
            message_id,
        )
    if row["changed"]:
        await connection.execute(
            "UPDATE contacts SET opted_out_at = $2, updated_at = now() WHERE id = $1",
            contact_id,
            at if stop else None,
        )
    return row["changed"]
