"""One person, known by the address at first and later by an id of the provider's that outlives it."""

from __future__ import annotations

from models.messages import InboundMessage
from serve_app.store.pool import Connection
from serve_app.store.values import text


async def adopt_external_id(connection: Connection, latest: InboundMessage, owner_id: str) -> None:
    """Who was known by the address keeps conversations, history and language once the provider begins to
    tell an id that outlives the address."""
    if latest.contact_key == latest.sender:
        return
    contact_id = await connection.fetchval(
        """
        UPDATE contacts SET key = $4, updated_at = now()
        WHERE owner_id = $1 AND channel = $2 AND key = $3
            AND NOT EXISTS (SELECT FROM contacts WHERE owner_id = $1 AND channel = $2 AND key = $4)
        RETURNING id
        """,
        owner_id,
        latest.channel,
        text(latest.sender),
        text(latest.contact_key),
    )
    if contact_id is not None:
        await connection.execute(
            """
            UPDATE conversations SET updated_at = now(),
                key = left(key, length(key) - length($2::text)) || $3::text
            WHERE contact_id = $1 AND right(key, length($2::text)) = $2::text
            """,
            contact_id,
            text(latest.sender),
            text(latest.contact_key),
        )


async def known_as(connection: Connection, message: InboundMessage, owner_id: str) -> str:
    """Where several contacts have had the address that a message came from, one who has opted out comes
    first: rather silent than a message after STOP. Then the one who was heard of last."""
    if message.contact_key != message.sender:
        return message.contact_key
    found = await connection.fetchval(
        """
        SELECT key FROM contacts WHERE owner_id = $1 AND channel = $2 AND address = $3
        ORDER BY opted_out_at IS NULL, updated_at DESC, id LIMIT 1
        """,
        owner_id,
        message.channel,
        text(message.sender),
    )
    return found or message.contact_key
