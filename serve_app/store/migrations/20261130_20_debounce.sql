-- How long an account's conversations must be quiet before a turn starts
-- depends: 20261122_c_buttons

-- migrate: apply

ALTER TABLE twilio_accounts ADD COLUMN debounce_s double precision;

-- migrate: rollback

ALTER TABLE twilio_accounts DROP COLUMN debounce_s;
