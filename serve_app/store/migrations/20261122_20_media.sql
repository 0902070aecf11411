-- Files are referred to for a time
-- depends: 20260102_01_replies_in_doubt

-- migrate: apply

CREATE INDEX messages_with_media ON messages (received_at)
    WHERE jsonb_array_length(payload -> 'media') > 0;

-- migrate: rollback

DROP INDEX messages_with_media;
