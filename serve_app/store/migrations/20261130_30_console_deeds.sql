-- What came of an operator's deed, which token a session was opened with, and a lookup by age
-- depends: 20261122_6_console

-- migrate: apply

-- A deed is written down before it is done; `begun` stays where nobody could tell what came of it.
ALTER TABLE operator_actions ADD COLUMN outcome text NOT NULL DEFAULT '';

-- A digest of the cookie and the token together; empty for those who have a password.
ALTER TABLE operator_sessions ADD COLUMN token_proof text NOT NULL DEFAULT '';
-- What the last form did, told once on the next page.
ALTER TABLE operator_sessions ADD COLUMN notice text NOT NULL DEFAULT '';

CREATE INDEX sign_in_failures_at ON sign_in_failures (at);

-- migrate: rollback

DROP INDEX sign_in_failures_at;
ALTER TABLE operator_sessions DROP COLUMN token_proof, DROP COLUMN notice;
ALTER TABLE operator_actions DROP COLUMN outcome;
