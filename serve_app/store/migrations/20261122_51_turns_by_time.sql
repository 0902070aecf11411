-- Figures over the last hour or day, of all owners together.
-- depends: 20260102_01_replies_in_doubt

-- migrate: apply
CREATE INDEX turns_created ON turns (created_at);

-- migrate: rollback
DROP INDEX turns_created;
