-- Short documents that assistants may quote
-- depends: 20261122_40_business

-- migrate: apply

CREATE TABLE documents (
    id         text PRIMARY KEY DEFAULT gen_random_uuid()::text,
    owner_id   text NOT NULL REFERENCES owners ON DELETE CASCADE,
    title      text NOT NULL,
    source     text NOT NULL,
    language   text,
    body       text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (owner_id, title)
);

-- Parts of a document that are found and quoted on their own. config is the text search configuration of
-- its language; words is made from the text with and without accents, as questions are.
CREATE TABLE passages (
    document_id text NOT NULL REFERENCES documents ON DELETE CASCADE,
    owner_id    text NOT NULL REFERENCES owners ON DELETE CASCADE,
    position    integer NOT NULL,
    body        text NOT NULL,
    config      regconfig NOT NULL,
    words       tsvector NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (document_id, position)
);
CREATE INDEX passages_words ON passages USING gin (words);
CREATE INDEX passages_owner ON passages (owner_id, config);

-- migrate: rollback

DROP TABLE passages, documents;
