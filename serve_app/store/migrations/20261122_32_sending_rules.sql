-- How an account's messages go out, and what became of those that failed after they were accepted
-- depends: 20261122_31_last_look

-- migrate: apply

-- {"number_parts": …, "per_second": …, "template": {"content_sid": …, "variables": {…}}, …}
ALTER TABLE twilio_accounts ADD COLUMN sending jsonb NOT NULL DEFAULT '{}';

-- segments is of an SMS; not_before is of a reply that is sent once more.
ALTER TABLE replies ADD COLUMN segments integer, ADD COLUMN not_before timestamptz;

-- migrate: rollback

ALTER TABLE replies DROP COLUMN segments, DROP COLUMN not_before;
ALTER TABLE twilio_accounts DROP COLUMN sending;
