-- What is looked at again just before a reply is sent
-- depends: 20260102_01_replies_in_doubt

-- migrate: apply

ALTER TABLE contacts ADD COLUMN opted_out_at timestamptz;

-- Every opt-out and opt-in, as proof. changed tells whether it changed anything. message_id is the
-- provider's, or the reply's that was refused; the same one counts once.
CREATE TABLE consents (
    seq        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    contact_id text NOT NULL REFERENCES contacts ON DELETE CASCADE,
    message_id text NOT NULL,
    action     text NOT NULL CHECK (action IN ('stop', 'start')),
    source     text NOT NULL CHECK (source IN ('keyword', 'provider', 'refusal')),
    changed    boolean NOT NULL,
    at         timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (contact_id, message_id)
);

-- How often a person has taken the conversation over: a reply of a former count comes too late.
ALTER TABLE conversations ADD COLUMN takeovers integer NOT NULL DEFAULT 0;

ALTER TABLE replies
    ADD COLUMN purpose text NOT NULL DEFAULT 'answer'
        CHECK (purpose IN ('answer', 'opt_out', 'person')),
    ADD COLUMN takeovers integer NOT NULL DEFAULT 0,
    ADD COLUMN as_template boolean NOT NULL DEFAULT false;

-- migrate: rollback

ALTER TABLE replies DROP COLUMN purpose, DROP COLUMN takeovers, DROP COLUMN as_template;
ALTER TABLE conversations DROP COLUMN takeovers;
DROP TABLE consents;
ALTER TABLE contacts DROP COLUMN opted_out_at;
