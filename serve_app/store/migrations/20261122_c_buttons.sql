-- Buttons under replies
-- depends: 20261122_32_sending_rules

-- migrate: apply

ALTER TABLE replies ADD COLUMN buttons text[] NOT NULL DEFAULT '{}';

-- migrate: rollback

ALTER TABLE replies DROP COLUMN buttons;
