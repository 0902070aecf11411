"""A turn's messages put on record, with their contact and conversation."""

from __future__ import annotations

from collections.abc import Sequence

import asyncpg

from models.accounts import TwilioAccount
from models.conversations import Contact, Conversation, StoredMessage
from models.errors import StoreUnavailableError
from models.messages import InboundMessage
from serve_app.store.pool import Connection
from serve_app.store.values import json_text, text

TRIES = 3

# One statement, each step of which reads the one before: contact, conversation and messages are locked in
# this order. Nobody need wait for the disk: the job stays on the queue until the end of its turn is there,
# and with that all that went before.
_RECORD = """
WITH contact AS (
    INSERT INTO contacts (owner_id, channel, key, address, profile_name) VALUES ($1, $3, $4, $5, $6)
    ON CONFLICT (owner_id, channel, key) DO UPDATE SET
        address = excluded.address,
        profile_name = coalesce(excluded.profile_name, contacts.profile_name),
        updated_at = now()
    RETURNING id, key, address, profile_name, language, timezone, opted_out_at
), conversation AS (
    INSERT INTO conversations (owner_id, account_id, contact_id, account_sid, channel, recipient, key,
        last_inbound_at)
    SELECT $1, $2, contact.id, $7, $3, $8, $9, $10 FROM contact
    ON CONFLICT (owner_id, account_id, key) DO UPDATE SET
        last_inbound_at = greatest(conversations.last_inbound_at, excluded.last_inbound_at),
        updated_at = now()
    RETURNING id, recipient, human, takeovers, last_inbound_at
), added AS (
    INSERT INTO messages
        (conversation_id, channel, account_sid, provider_message_id, payload, received_at)
    SELECT conversation.id, $3, $7, new.id, new.payload::jsonb, new.received_at
    FROM conversation, unnest($11::text[], $12::text[], $13::timestamptz[]) WITH ORDINALITY
        AS new (id, payload, received_at, n)
    ORDER BY new.n
    ON CONFLICT (account_sid, provider_message_id, channel) DO NOTHING
    RETURNING id, provider_message_id, payload, transcript, transcript_language, audio_seconds, turn_id
)
SELECT contact.id AS contact_id, contact.key, contact.address, contact.profile_name, contact.language,
    contact.timezone, contact.opted_out_at, conversation.id AS conversation_id,
    conversation.recipient, conversation.human, conversation.takeovers, conversation.last_inbound_at,
    m.*, set_config('synchronous_commit', 'off', true)
FROM contact, conversation, (
    SELECT * FROM added
    UNION ALL
    SELECT id, provider_message_id, payload, transcript, transcript_language, audio_seconds, turn_id
    FROM messages
    WHERE account_sid = $7 AND provider_message_id = ANY ($11) AND channel = $3
) AS m
"""


async def record_messages(
    connection: Connection,
    messages: Sequence[InboundMessage],
    *,
    owner_id: str,
    account: TwilioAccount,
) -> tuple[Conversation, list[StoredMessage]]:
    """In the order given, each once. They are of one conversation."""
    latest = messages[-1]
    names = (message.profile_name for message in reversed(messages))
    ids = [text(message.message_id) for message in messages]
    for _ in range(TRIES):
        rows = await connection.fetch(
            _RECORD,
            owner_id,
            account.id,
            latest.channel,
            text(latest.contact_key),
            text(latest.sender),
            text(next((name for name in names if name), None)),
            text(latest.account_id),
            text(latest.recipient),
            text(latest.conversation_key),
            max(message.received_at for message in messages),
            ids,
            [json_text(message) for message in messages],
            [message.received_at for message in messages],
        )
        found = {row["provider_message_id"]: row for row in rows}
        if found.keys() >= set(ids):
            stored = [_stored(found[message_id]) for message_id in dict.fromkeys(ids)]
            return _conversation(rows[0], latest, owner_id, account), stored
        # Another try has recorded one of them since the statement began, which sees it the next time.
    raise StoreUnavailableError("messages just recorded weren't found")


def _conversation(
    row: asyncpg.Record, latest: InboundMessage, owner_id: str, account: TwilioAccount
) -> Conversation:
    return Conversation(
        id=row["conversation_id"],
        owner_id=owner_id,
        account_id=account.id,
        contact=Contact(
            id=row["contact_id"],
            owner_id=owner_id,
            channel=latest.channel,
            key=row["key"],
            address=row["address"],
            profile_name=row["profile_name"],
            language=row["language"],
            timezone=row["timezone"],
            opted_out_at=row["opted_out_at"],
        ),
        recipient=row["recipient"],
        human=row["human"],
        takeovers=row["takeovers"],
        last_inbound_at=row["last_inbound_at"],
    )


def _stored(row: asyncpg.Record) -> StoredMessage:
    return StoredMessage(
        id=row["id"],
        message=InboundMessage.model_validate(row["payload"]),
        transcript=row["transcript"],
        transcript_language=row["transcript_language"],
        audio_seconds=row["audio_seconds"],
        turn_id=row["turn_id"],
    )
