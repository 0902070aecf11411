-- What an operator wants to know of the last hour and day, and only the moment itself tells
-- depends: 20261130_32_console_figures

-- migrate: apply

CREATE TABLE backlog_samples (
    at        timestamptz NOT NULL DEFAULT now(),
    queue     text NOT NULL,
    waiting   integer NOT NULL,
    oldest_s  float8 NOT NULL,
    in_flight integer NOT NULL,
    delayed   integer NOT NULL,
    dead      integer NOT NULL
);
CREATE INDEX backlog_samples_at ON backlog_samples (at);

CREATE TABLE replica_samples (
    at         timestamptz NOT NULL DEFAULT now(),
    deployment text NOT NULL,
    running    integer NOT NULL
);
CREATE INDEX replica_samples_at ON replica_samples (at);

-- Counters of one replica of a model since it started.
CREATE TABLE engine_samples (
    at           timestamptz NOT NULL DEFAULT now(),
    engine       text NOT NULL,
    model        text NOT NULL,
    replica      text NOT NULL,
    batch_limit  integer NOT NULL,
    requests     bigint NOT NULL,
    batches      bigint NOT NULL,
    rows         bigint NOT NULL,
    busy_seconds float8 NOT NULL,
    work_done    float8 NOT NULL
);
CREATE INDEX engine_samples_at ON engine_samples (at);

-- migrate: rollback

DROP TABLE engine_samples, replica_samples, backlog_samples;
