-- Spooled webhooks remember in whose line they wait
-- depends: 20260102_01_replies_in_doubt

-- migrate: apply

ALTER TABLE inbox_spool ADD COLUMN fairness_key text NOT NULL DEFAULT '';

-- migrate: rollback

ALTER TABLE inbox_spool DROP COLUMN fairness_key;
