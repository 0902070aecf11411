-- What the console's figures of a busy day are read from: indexes alone, and a sample by index
-- depends: 20261130_31_replies_by_state

-- migrate: apply

CREATE INDEX turns_figures ON turns (created_at)
    INCLUDE (owner_id, prompt_tokens, completion_tokens, audio_seconds);
DROP INDEX turns_created;
CREATE INDEX messages_figures ON messages (received_at) INCLUDE (conversation_id);
DROP INDEX messages_received;
CREATE INDEX replies_figures ON replies (created_at) INCLUDE (conversation_id, status);
DROP INDEX replies_created;

-- One in sixteen, the same ones for everybody.
CREATE INDEX turns_sample ON turns (created_at) WHERE abs(hashtext(id)::bigint) % 16 = 0;

-- What was vacuumed lately is read from the index alone.
ALTER TABLE turns SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE messages SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02);
ALTER TABLE replies SET (autovacuum_vacuum_scale_factor = 0.02,
    autovacuum_vacuum_insert_scale_factor = 0.02);

-- migrate: rollback

ALTER TABLE replies RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
ALTER TABLE messages RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
ALTER TABLE turns RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_insert_scale_factor);
CREATE INDEX turns_created ON turns (created_at);
CREATE INDEX messages_received ON messages (received_at);
CREATE INDEX replies_created ON replies (created_at);
DROP INDEX turns_sample, replies_figures, messages_figures, turns_figures;
