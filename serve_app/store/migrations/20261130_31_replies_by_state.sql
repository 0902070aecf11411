-- Replies that need a person, by state and the latest first
-- depends: 20261130_30_console_deeds

-- migrate: apply

CREATE INDEX replies_by_state ON replies (status, updated_at, id)
    WHERE status IN ('unknown', 'parked', 'failed');

-- migrate: rollback

DROP INDEX replies_by_state;
