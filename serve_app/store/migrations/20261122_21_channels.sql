-- Accounts of other providers than Twilio
-- depends: 20261122_20_media

-- migrate: apply

-- access_token is a Fernet ciphertext, as the other tokens are.
ALTER TABLE twilio_accounts
    ADD COLUMN channel text NOT NULL DEFAULT 'twilio',
    ADD COLUMN access_token text;

-- migrate: rollback

ALTER TABLE twilio_accounts DROP COLUMN channel, DROP COLUMN access_token;
