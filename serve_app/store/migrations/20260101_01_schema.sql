-- The first schema
-- depends:

-- migrate: apply

CREATE TABLE plans (
    code             text PRIMARY KEY,
    active           boolean NOT NULL,
    features         text[] NOT NULL,
    monthly_messages integer CHECK (monthly_messages >= 0),
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE owners (
    id           text PRIMARY KEY,
    name         text NOT NULL,
    timezone     text NOT NULL,
    language     text NOT NULL,
    plan_code    text NOT NULL REFERENCES plans,
    -- Bookings so far, from which the next reference is made.
    booking_seq  bigint NOT NULL DEFAULT 0,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE assistants (
    owner_id         text PRIMARY KEY REFERENCES owners ON DELETE CASCADE,
    instructions     text NOT NULL,
    language         text,
    tools            text[] NOT NULL,
    facts            jsonb NOT NULL,
    temperature      double precision NOT NULL,
    max_reply_tokens integer NOT NULL,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now()
);

-- Tokens are Fernet ciphertexts. phone_numbers is [{"address": …, "channel": …}, …].
CREATE TABLE twilio_accounts (
    id                    text PRIMARY KEY,
    owner_id              text NOT NULL REFERENCES owners,
    account_sid           text NOT NULL,
    auth_token            text NOT NULL,
    secondary_token       text,
    phone_numbers         jsonb NOT NULL,
    messaging_service_sid text,
    active                boolean NOT NULL,
    created_at            timestamptz NOT NULL DEFAULT now(),
    updated_at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX twilio_accounts_sid ON twilio_accounts (account_sid, messaging_service_sid);
CREATE INDEX twilio_accounts_numbers ON twilio_accounts USING gin (phone_numbers jsonb_path_ops);
CREATE INDEX twilio_accounts_owner ON twilio_accounts (owner_id);

CREATE TABLE contacts (
    id           text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    owner_id     text NOT NULL REFERENCES owners,
    channel      text NOT NULL,
    key          text NOT NULL,
    address      text NOT NULL,
    profile_name text,
    language     text,
    created_at   timestamptz NOT NULL DEFAULT now(),
    updated_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner_id, channel, key)
);

-- key is the one that the queue orders by.
CREATE TABLE conversations (
    id              text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    owner_id        text NOT NULL REFERENCES owners,
    account_id      text NOT NULL REFERENCES twilio_accounts,
    contact_id      text NOT NULL REFERENCES contacts,
    account_sid     text NOT NULL,
    channel         text NOT NULL,
    recipient       text NOT NULL,
    key             text NOT NULL,
    human           boolean NOT NULL DEFAULT false,
    last_inbound_at timestamptz,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner_id, account_id, key)
);
CREATE INDEX conversations_contact ON conversations (contact_id);
CREATE INDEX conversations_account ON conversations (account_id);

-- timings is [{"step": …, "started_s": …, "seconds": …}, …].
CREATE TABLE turns (
    id                text PRIMARY KEY,
    conversation_id   text NOT NULL REFERENCES conversations,
    owner_id          text NOT NULL REFERENCES owners,
    hand_over         boolean NOT NULL,
    prompt_tokens     bigint NOT NULL,
    completion_tokens bigint NOT NULL,
    audio_seconds     double precision NOT NULL,
    timings           jsonb NOT NULL,
    trace             jsonb NOT NULL,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX turns_conversation ON turns (conversation_id, created_at);
CREATE INDEX turns_owner ON turns (owner_id, created_at);

-- payload is the inbound message in full. A turn's id appears with the turn's commit.
CREATE TABLE messages (
    id                  text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    seq                 bigint GENERATED ALWAYS AS IDENTITY,
    conversation_id     text NOT NULL REFERENCES conversations,
    channel             text NOT NULL,
    account_sid         text NOT NULL,
    provider_message_id text NOT NULL,
    payload             jsonb NOT NULL,
    received_at         timestamptz NOT NULL,
    transcript          text,
    transcript_language text,
    audio_seconds       double precision NOT NULL DEFAULT 0,
    turn_id             text REFERENCES turns,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (account_sid, provider_message_id, channel)
);
CREATE INDEX messages_conversation ON messages (conversation_id, seq);
CREATE INDEX messages_turn ON messages (turn_id);

-- The history as the model sees it. tool_calls is [{"id": …, "name": …, "arguments": {…}}, …].
CREATE TABLE entries (
    seq             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    conversation_id text NOT NULL REFERENCES conversations,
    turn_id         text NOT NULL REFERENCES turns,
    role            text NOT NULL CHECK (role IN ('user', 'assistant', 'tool')),
    content         text NOT NULL,
    tool_calls      jsonb NOT NULL,
    tool_call_id    text,
    name            text,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX entries_conversation ON entries (conversation_id, seq);
CREATE INDEX entries_turn ON entries (turn_id);

CREATE TABLE replies (
    id                  text PRIMARY KEY,
    seq                 bigint GENERATED ALWAYS AS IDENTITY,
    turn_id             text NOT NULL REFERENCES turns,
    conversation_id     text NOT NULL REFERENCES conversations,
    conversation_key    text NOT NULL,
    channel             text NOT NULL,
    account_sid         text NOT NULL,
    sender              text NOT NULL,
    recipient           text NOT NULL,
    position            integer NOT NULL,
    body                text NOT NULL,
    status              text NOT NULL DEFAULT 'pending' CHECK (status IN
        ('pending', 'sending', 'unknown', 'sent', 'failed', 'parked', 'canceled')),
    provider_message_id text,
    delivery            text,
    error_code          integer,
    error_message       text,
    sending_since       timestamptz,
    trace               jsonb NOT NULL,
    created_at          timestamptz NOT NULL DEFAULT now(),
    updated_at          timestamptz NOT NULL DEFAULT now(),
    UNIQUE (turn_id, position)
);
CREATE UNIQUE INDEX replies_provider ON replies (provider_message_id, account_sid)
    WHERE provider_message_id IS NOT NULL;
CREATE INDEX replies_unsent ON replies (updated_at) WHERE status IN ('pending', 'sending');
CREATE INDEX replies_conversation ON replies (conversation_id, seq);

-- Per calendar month of the owner's time zone; month is its first day.
CREATE TABLE usage (
    owner_id          text NOT NULL REFERENCES owners,
    month             date NOT NULL,
    messages          bigint NOT NULL DEFAULT 0,
    audio_seconds     double precision NOT NULL DEFAULT 0,
    prompt_tokens     bigint NOT NULL DEFAULT 0,
    completion_tokens bigint NOT NULL DEFAULT 0,
    created_at        timestamptz NOT NULL DEFAULT now(),
    updated_at        timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, month)
);

CREATE TABLE bookings (
    owner_id        text NOT NULL REFERENCES owners,
    reference       text NOT NULL,
    key             text NOT NULL,
    conversation_id text NOT NULL REFERENCES conversations,
    people          integer NOT NULL,
    day             text NOT NULL,
    time            text NOT NULL,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, reference),
    UNIQUE (owner_id, key)
);
CREATE INDEX bookings_conversation ON bookings (conversation_id);

-- payload is the job's, not parsed: it is handed on as it came.
CREATE TABLE inbox_spool (
    seq          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue        text NOT NULL,
    job_id       text NOT NULL,
    conversation text NOT NULL,
    payload      text NOT NULL,
    trace        jsonb NOT NULL,
    debounce_s   double precision NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    UNIQUE (queue, job_id)
);

-- migrate: rollback

DROP TABLE inbox_spool, bookings, usage, replies, entries, messages, turns, conversations,
    contacts, twilio_accounts, assistants, owners, plans;
