-- runs holds what the jobs did: one row per run.
CREATE TABLE runs (
    id VARCHAR NOT NULL,
    job VARCHAR NOT NULL,
    command VARCHAR NOT NULL,
    window_start TIMESTAMP, -- UTC, inclusive
    window_end TIMESTAMP, -- UTC, exclusive
    scheduled_at TIMESTAMP, -- UTC
    started_at TIMESTAMP, -- UTC
    finished_at TIMESTAMP, -- UTC
    attempt INTEGER NOT NULL, -- from 1
    outcome VARCHAR NOT NULL, -- ok, failed, incomplete, skipped, timeout, killed or lost
    exit INTEGER NOT NULL, -- exit status, -1 if there is none
    rows BIGINT NOT NULL, -- written
    bytes BIGINT NOT NULL, -- written
    message VARCHAR NOT NULL,
    output VARCHAR, -- the end of its output
    date DATE NOT NULL, -- the UTC date of finished_at
);
