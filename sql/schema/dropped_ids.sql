-- dropped_ids holds the ids that were removed from the tape on purpose and not restored since: one
-- row per run of ids. An id that is on the tape all the same counts as on the tape.
CREATE TABLE dropped_ids (
    symbol VARCHAR NOT NULL,
    first_id BIGINT NOT NULL, -- both ends included
    last_id BIGINT NOT NULL,
    first_at TIMESTAMP NOT NULL, -- UTC, none of them traded before
    last_at TIMESTAMP NOT NULL, -- UTC, none of them traded after
);
