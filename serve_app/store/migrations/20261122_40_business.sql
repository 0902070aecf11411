-- Quotas that hold under concurrency, assistants with more settings, notes to owners
-- depends: 20260102_01_replies_in_doubt

-- migrate: apply

-- Places in a month's quota that turns hold while they are answered.
CREATE TABLE reservations (
    turn_id    text PRIMARY KEY,
    owner_id   text NOT NULL REFERENCES owners ON DELETE CASCADE,
    month      date NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX reservations_owner ON reservations (owner_id, month);

-- What an assistant has besides the columns: tone, model, hours, texts, people, HTTP tools.
ALTER TABLE assistants ADD COLUMN settings jsonb NOT NULL DEFAULT '{}';
ALTER TABLE owners ADD COLUMN retention_days integer CHECK (retention_days >= 1);
ALTER TABLE contacts ADD COLUMN timezone text;

CREATE INDEX conversations_human ON conversations (owner_id) WHERE human;

-- Values are Fernet ciphertexts.
CREATE TABLE owner_secrets (
    owner_id   text NOT NULL REFERENCES owners ON DELETE CASCADE,
    name       text NOT NULL,
    ciphertext text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner_id, name)
);

-- What an owner's people are to be told. Due at `next_at`; settled once `done_at` is set, in vain if
-- there is an error then.
CREATE TABLE notes (
    id              text PRIMARY KEY,
    owner_id        text NOT NULL REFERENCES owners ON DELETE CASCADE,
    conversation_id text NOT NULL REFERENCES conversations,
    kind            text NOT NULL,
    destination     text NOT NULL CHECK (destination IN ('webhook', 'message')),
    target          text NOT NULL,
    content         jsonb NOT NULL,
    attempts        integer NOT NULL DEFAULT 0,
    next_at         timestamptz NOT NULL DEFAULT now(),
    done_at         timestamptz,
    error           text,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notes_due ON notes (next_at) WHERE done_at IS NULL;
CREATE INDEX notes_owner ON notes (owner_id);
CREATE INDEX notes_conversation ON notes (conversation_id);

-- migrate: rollback

DROP TABLE notes, owner_secrets, reservations;
DROP INDEX conversations_human;
ALTER TABLE contacts DROP COLUMN timezone;
ALTER TABLE owners DROP COLUMN retention_days;
ALTER TABLE assistants DROP COLUMN settings;
