-- The operators' console: who may use it, what they did, and what its pages look up
-- depends: 20261122_51_turns_by_time

-- migrate: apply

CREATE TABLE operators (
    name          text PRIMARY KEY,
    role          text NOT NULL CHECK (role IN ('view', 'operate', 'administer')),
    password_hash text NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    updated_at    timestamptz NOT NULL DEFAULT now()
);

-- id_hash is the digest of what the browser's cookie holds.
CREATE TABLE operator_sessions (
    id_hash    text PRIMARY KEY,
    operator   text NOT NULL,
    role       text NOT NULL,
    csrf_token text NOT NULL,
    seen_at    timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX operator_sessions_operator ON operator_sessions (operator);

CREATE TABLE sign_in_failures (
    name text NOT NULL,
    at   timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX sign_in_failures_name ON sign_in_failures (name, at);

CREATE TABLE operator_actions (
    seq      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT now(),
    operator text NOT NULL,
    role     text NOT NULL,
    action   text NOT NULL,
    subject  text NOT NULL,
    detail   text NOT NULL
);

-- What an ingress replica answered in ten seconds. counts are those of the buckets of
-- models.console.ACKNOWLEDGING_S, the last one for what took longer.
CREATE TABLE webhook_samples (
    at      timestamptz NOT NULL DEFAULT now(),
    replica text NOT NULL,
    refused integer NOT NULL,
    counts  integer[] NOT NULL
);
CREATE INDEX webhook_samples_at ON webhook_samples (at);

CREATE INDEX conversations_latest ON conversations (last_inbound_at DESC NULLS LAST, id);
CREATE INDEX conversations_people ON conversations (last_inbound_at DESC) WHERE human;
CREATE INDEX messages_received ON messages (received_at);
CREATE INDEX messages_provider ON messages (provider_message_id);
CREATE INDEX messages_words ON messages USING gin (to_tsvector('simple'::regconfig,
    left(coalesce(payload->>'body', '') || ' ' || coalesce(transcript, ''), 8000)));
CREATE INDEX replies_words ON replies USING gin (to_tsvector('simple'::regconfig, left(body, 8000)));
CREATE INDEX replies_created ON replies (created_at);
CREATE INDEX turns_correlation ON turns ((trace->>'correlation_id'));

-- migrate: rollback

DROP INDEX turns_correlation, replies_created, replies_words, messages_words,
    messages_provider, messages_received, conversations_people, conversations_latest;
DROP TABLE webhook_samples, operator_actions, sign_in_failures, operator_sessions, operators;
