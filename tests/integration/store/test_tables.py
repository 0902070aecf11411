"""What is really in Postgres: encrypted tokens, used indexes, consistent rows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr

from models.conversations import CommittedTurn, HistoryEntry
from models.errors import PermanentError
from models.inference import ChatUsage, ToolCall
from models.jobs import NewJob
from serve_app.settings import StoreSettings
from serve_app.store.accounts import _BY_NUMBER, PostgresTwilioAccountRepository
from serve_app.store.cipher import TokenCipher
from serve_app.store.conversations import PostgresConversationRepository
from serve_app.store.owners import PostgresOwnerRepository
from serve_app.store.pool import StorePool, open_pool
from serve_app.store.replies import _UNSENT, PostgresReplyRepository
from serve_app.store.spool import PostgresSpoolRepository
from tests.contract.store_samples import (
    NUMBER,
    a_message,
    a_reply,
    a_turn,
    an_account,
    an_owner,
)

pytestmark = pytest.mark.integration

OLD, NEW = (Fernet.generate_key().decode() for _ in range(2))


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[StorePool]:
    async with open_pool(database_url, StoreSettings()) as opened:
        yield opened


async def _fetch(pool: StorePool, query: str, *values: object) -> list[dict[str, object]]:
    async with pool.connection() as connection:
        return [dict(row) for row in await connection.fetch(query, *values)]


def _accounts(pool: StorePool, keys: str) -> PostgresTwilioAccountRepository:
    return PostgresTwilioAccountRepository(pool=pool, cipher=TokenCipher(keys))


async def test_tokens_are_encrypted_at_rest(pool: StorePool) -> None:
    await PostgresOwnerRepository(pool=pool).save(an_owner())
    await _accounts(pool, OLD).save(an_account(secondary_token=SecretStr("secondary-token")))

    [row] = await _fetch(pool, "SELECT * FROM twilio_accounts")
    assert "primary-token" not in str(row)
    assert "secondary-token" not in str(row)
    with pytest.raises(PermanentError, match="RECADO_SECRET_KEY"):
        await _accounts(pool, NEW).by_sid("AC1")


async def test_keys_are_rotated(pool: StorePool) -> None:
    await PostgresOwnerRepository(pool=pool).save(an_owner())
    account = an_account(secondary_token=SecretStr("secondary-token"))
    await _accounts(pool, OLD).save(account)
    await _accounts(pool, OLD).save(an_account(id="a2", account_sid="AC2"))

    with pytest.raises(PermanentError):
        await _accounts(pool, NEW).reencrypt()
    assert await _accounts(pool, f"{NEW},{OLD}").by_sid("AC1") == account
    assert await _accounts(pool, f"{NEW},{OLD}").reencrypt() == 2

    assert await _accounts(pool, NEW).by_sid("AC1") == account
    with pytest.raises(PermanentError):
        await _accounts(pool, OLD).by_sid("AC2")


async def test_numbers_are_found_by_their_index(pool: StorePool) -> None:
    await PostgresOwnerRepository(pool=pool).save(an_owner())
    async with pool.connection() as connection:
        await connection.execute(
            """
            INSERT INTO twilio_accounts (id, owner_id, account_sid, auth_token, phone_numbers, active)
            SELECT 'a' || n, 'o1', 'AC1', 'x',
                jsonb_build_array(jsonb_build_object('address', '+' || n, 'channel', 'sms')), true
            FROM generate_series(1, 5000) AS n
            """
        )
        await connection.execute("ANALYZE twilio_accounts")
        rows = await connection.fetch(f"EXPLAIN {_BY_NUMBER}", "AC1", [{"address": "+77"}])
        plan = "\n".join(row[0] for row in rows)
        found = await connection.fetch(_BY_NUMBER, "AC1", [{"address": "+77"}])

    assert "twilio_accounts_numbers" in plan
    assert "Seq Scan" not in plan
    assert [row["id"] for row in found] == ["a77"]


async def test_unsent_replies_are_found_by_their_index(pool: StorePool) -> None:
    async with pool.connection() as connection:
        await connection.execute("SET enable_seqscan = off")
        rows = await connection.fetch(f"EXPLAIN {_UNSENT}", 30.0, 100)
    assert "replies_unsent" in "\n".join(row[0] for row in rows)


async def test_every_foreign_key_has_an_index(pool: StorePool) -> None:
    """So that no delete and no join reads a whole table. Owners are never deleted in bulk."""
    rows = await _fetch(
        pool,
        """
        SELECT c.conrelid::regclass::text AS name, a.attname AS column
        FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND NOT EXISTS (
            SELECT 1 FROM pg_index i
            WHERE i.indrelid = c.conrelid AND i.indkey[0] = c.conkey[1]
        )
        """,
    )
    assert [(row["name"], row["column"]) for row in rows] == [("owners", "plan_code")]


async def test_a_turn_in_the_tables(pool: StorePool) -> None:
    owners = PostgresOwnerRepository(pool=pool)
    conversations = PostgresConversationRepository(pool=pool)
    await owners.save(an_owner())
    await _accounts(pool, NEW).save(an_account())
    conversation, stored = await conversations.record(
        [a_message("SM1"), a_message("SM2")], owner_id="o1", account=an_account()
    )
    turns = [
        a_turn(
            conversation,
            [message],
            turn_id=f"t{number}",
            replies=(a_reply(f"r{number}", 0, "."),),
            usage=ChatUsage(prompt_tokens=100, completion_tokens=10),
            audio_seconds=1.5,
        )
        for number, message in enumerate(stored)
    ]
    for turn in turns:
        assert await conversations.commit_turn(turn)
        assert not await conversations.commit_turn(turn)

    [usage] = await _fetch(pool, "SELECT * FROM usage")
    assert (usage["owner_id"], usage["messages"]) == ("o1", 2)
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (200, 20)
    assert usage["audio_seconds"] == 3.0
    [sums] = await _fetch(
        pool, "SELECT count(*) AS n, sum(prompt_tokens) AS tokens FROM turns WHERE owner_id = 'o1'"
    )
    assert (sums["n"], int(str(sums["tokens"]))) == (2, 200)


async def test_text_that_postgres_cannot_hold(pool: StorePool) -> None:
    conversations = PostgresConversationRepository(pool=pool)
    replies = PostgresReplyRepository(pool=pool)
    spool = PostgresSpoolRepository(pool=pool)
    await PostgresOwnerRepository(pool=pool).save(an_owner())
    await _accounts(pool, NEW).save(an_account())
    nasty = "a\x00b \ud83d ñ😀"

    conversation, stored = await conversations.record(
        [a_message("SM1", body=nasty, profile_name=nasty, extra={nasty: nasty})],
        owner_id="o1",
        account=an_account(),
    )
    await conversations.save_transcript(stored[0].id, text=nasty, language="es", audio_seconds=1)
    call = ToolCall(id="1", name="n", arguments={"x": nasty})
    entries = (
        HistoryEntry(role="user", content=nasty),
        HistoryEntry(role="assistant", content=nasty, tool_calls=(call,)),
    )
    assert await conversations.commit_turn(
        a_turn(conversation, stored, entries=entries, replies=(a_reply("r", 0, nasty),))
    )
    await spool.add("inbound", NewJob(id=nasty, conversation=nasty, payload=nasty))

    kept = "ab ? ñ😀"
    assert stored[0].message.body == kept
    history = await conversations.history(conversation.id, limit=10)
    assert [entry.content for entry in history] == [kept, kept]
    assert history[1].tool_calls[0].arguments == {"x": kept}
    reply = await replies.get("r")
    assert reply is not None
    assert reply.body == kept


async def test_recording_and_committing_at_once_do_not_deadlock(pool: StorePool) -> None:
    conversations = PostgresConversationRepository(pool=pool)
    await PostgresOwnerRepository(pool=pool).save(an_owner())
    account = an_account()
    await _accounts(pool, NEW).save(account)

    async def turn(number: int) -> CommittedTurn | None:
        conversation, stored = await conversations.record(
            [a_message(f"SM{number}-{part}") for part in range(3)], owner_id="o1", account=account
        )
        return await conversations.commit_turn(
            a_turn(
                conversation,
                stored,
                turn_id=f"t{number}",
                replies=(a_reply(f"r{number}", 0, "."),),
                contact_language="es",
            )
        )

    assert all(await asyncio.gather(*(turn(number) for number in range(40))))
    owners = PostgresOwnerRepository(pool=pool)
    assert await owners.messages_this_month("o1") == 40


async def test_an_account_that_moved_takes_no_conversation_along(pool: StorePool) -> None:
    owners = PostgresOwnerRepository(pool=pool)
    conversations = PostgresConversationRepository(pool=pool)
    accounts = _accounts(pool, NEW)
    found = []
    for owner_id in ("o1", "o2"):
        await owners.save(an_owner(id=owner_id))
        account = an_account(owner_id=owner_id)
        await accounts.save(account)
        conversation, _ = await conversations.record(
            [a_message(f"SM-{owner_id}")], owner_id=owner_id, account=account
        )
        found.append(conversation)
    assert found[0].id != found[1].id
    assert found[0].contact.id != found[1].contact.id
    assert await accounts.find(account_sid="AC1", address=NUMBER) == account
