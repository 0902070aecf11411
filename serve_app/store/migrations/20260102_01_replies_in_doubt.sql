-- Replies that a person looks after
-- depends: 20260101_01_schema

-- migrate: apply

-- The provider's ids of what was sent before a person had the reply sent again.
ALTER TABLE replies ADD COLUMN former_message_ids text[] NOT NULL DEFAULT '{}';
CREATE INDEX replies_former ON replies USING gin (former_message_ids)
    WHERE former_message_ids <> '{}';

CREATE INDEX replies_attention ON replies (updated_at)
    WHERE status IN ('unknown', 'parked', 'failed');
DROP INDEX replies_unsent;
CREATE INDEX replies_unsent ON replies (updated_at)
    WHERE status IN ('pending', 'sending', 'unknown');

-- For which conversations there is something in the spool.
CREATE INDEX inbox_spool_conversation ON inbox_spool (conversation);

-- migrate: rollback

DROP INDEX inbox_spool_conversation, replies_attention, replies_former, replies_unsent;
CREATE INDEX replies_unsent ON replies (updated_at) WHERE status IN ('pending', 'sending');
ALTER TABLE replies DROP COLUMN former_message_ids;
