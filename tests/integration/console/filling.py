"""A database full of conversations, written with SQL because a hundred thousand are many."""

from __future__ import annotations

from serve_app.store.pool import StorePool

_WORDS = (
    "ARRAY['open','saturday','table','coffee','price','where','thanks','parking','cake','late']"
)
_INDEXES = """
    SELECT indexname, indexdef FROM pg_indexes
    WHERE tablename IN ('turns', 'messages', 'replies', 'entries') AND indexdef NOT LIKE '%UNIQUE%'
"""


async def fill(
    pool: StorePool,
    *,
    messages: int,
    per_conversation: int = 20,
    token: str = "none",
    owners: int = 10,
    last_day: float = 0.5,
) -> None:
    """As many messages, each answered, over the last two days, this share of them within the last one.
    `token` is the accounts', encrypted."""
    conversations = max(1, messages // per_conversation)
    recent = round(messages * last_day)
    at = (
        f"now() - interval '86400 seconds' * CASE WHEN n <= {recent} THEN n::float8 / {recent}"
        f" ELSE 1 + (n - {recent})::float8 / {max(1, messages - recent)} END"
    )
    async with pool.transaction() as connection:
        # Indexes are built at the end, and what refers to what isn't looked up row by row.
        await connection.execute("SET LOCAL session_replication_role = replica")
        await connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        indexes = await connection.fetch(_INDEXES)
        for index in indexes:
            await connection.execute(f"DROP INDEX {index['indexname']}")
        for statement in (
            "INSERT INTO plans VALUES ('p', true, '{text,voice}', 1000000)",
            f"""INSERT INTO owners (id, name, timezone, language, plan_code)
               SELECT 'o' || n, 'Business ' || n, 'UTC', 'en', 'p' FROM generate_series(0, {owners - 1}) n""",
            """INSERT INTO assistants (owner_id, instructions, tools, facts, temperature,
                   max_reply_tokens) SELECT id, 'Be kind', '{}', '{}', 0, 100 FROM owners""",
            f"""INSERT INTO twilio_accounts (id, owner_id, account_sid, auth_token, phone_numbers, active)
               SELECT 'a' || n, 'o' || n, 'AC' || n, '{token}', '[]', true
               FROM generate_series(0, {owners - 1}) n""",
            f"""INSERT INTO contacts (id, owner_id, channel, key, address, profile_name)
               SELECT 'c' || n, 'o' || n % {owners}, 'twilio', 'k' || n, 'whatsapp:+1555' || n,
                   'Person ' || n FROM generate_series(1, {conversations}) n""",
            f"""INSERT INTO conversations (id, owner_id, account_id, contact_id, account_sid, channel,
                   recipient, key, last_inbound_at)
               SELECT 'v' || n, 'o' || n % {owners}, 'a' || n % {owners}, 'c' || n,
                   'AC' || n % {owners}, 'twilio', 'whatsapp:+1', 'k' || n,
                   now() - n * interval '30 seconds'
               FROM generate_series(1, {conversations}) n""",
            f"""INSERT INTO turns (id, conversation_id, owner_id, hand_over, prompt_tokens,
                   completion_tokens, audio_seconds, timings, trace, created_at)
               SELECT 't' || n, 'v' || 1 + n % {conversations}, 'o' || (1 + n % {conversations}) % {owners},
                   false, 100, 20, 0, jsonb_build_array(
                       jsonb_build_object('step', 'queued', 'started_s', 0, 'seconds', random()),
                       jsonb_build_object('step', 'record', 'started_s', 1, 'seconds', 0.004),
                       jsonb_build_object('step', 'resolve', 'started_s', 1, 'seconds', 0.002),
                       jsonb_build_object('step', 'transcribe', 'started_s', 1, 'seconds', 0.001),
                       jsonb_build_object('step', 'answer', 'started_s', 1, 'seconds', random() * 2)),
                   jsonb_build_object('correlation_id', 'correlation-' || n),
                   {at}
               FROM generate_series(1, {messages}) n""",
            f"""INSERT INTO messages (conversation_id, channel, account_sid, provider_message_id, payload,
                   received_at, turn_id)
               SELECT 'v' || 1 + n % {conversations}, 'twilio', 'AC', 'SM' || n, jsonb_build_object(
                   'channel', 'twilio', 'account_id', 'AC', 'message_id', 'SM' || n, 'sender', 's',
                   'recipient', 'r', 'contact_key', 'k', 'received_at', now(), 'body',
                   ({_WORDS})[1 + n % 10] || ' ' || ({_WORDS})[1 + n / 10 % 10] || ' number ' || n),
                   {at}, 't' || n
               FROM generate_series(1, {messages}) n""",
            f"""INSERT INTO replies (id, turn_id, conversation_id, conversation_key, channel, account_sid,
                   sender, recipient, position, body, status, delivery, provider_message_id, trace,
                   created_at)
               SELECT 'r' || n, 't' || n, 'v' || 1 + n % {conversations}, 'k', 'twilio', 'AC', 's', 'r',
                   0, 'Answer number ' || n, 'sent', 'read', 'SR' || n, '{{}}',
                   {at}
               FROM generate_series(1, {messages}) n""",
            f"""INSERT INTO entries (conversation_id, turn_id, role, content, tool_calls)
               SELECT 'v' || 1 + n % {conversations}, 't' || n, 'user', 'number ' || n, '[]'
               FROM generate_series(1, {messages}) n""",
            *(index["indexdef"] for index in indexes),
        ):
            await connection.execute(statement, timeout=300)
    async with pool.connection() as connection:
        # As autovacuum would; the tests' server has none.
        tables = "turns, messages, replies, entries, conversations, contacts, owners"
        await connection.execute(f"VACUUM (FREEZE, ANALYZE) {tables}", timeout=120)
