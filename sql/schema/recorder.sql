-- recorder holds what happened to the recorder: one row per event.
CREATE TABLE recorder (
    "at" TIMESTAMP NOT NULL, -- UTC
    event VARCHAR NOT NULL, -- started, connected, lost, resumed, gap, healed, stopped or killed
    connection VARCHAR NOT NULL, -- its name, or empty
    symbol VARCHAR NOT NULL, -- of a gap and its healing, else empty
    first_id BIGINT, -- the ids of a gap, both ends included
    last_id BIGINT,
    ids BIGINT NOT NULL, -- how many ids it is about
    message VARCHAR NOT NULL, -- why, for a person
    run_id VARCHAR NOT NULL, -- the recorder's run, or the run that healed a gap
    date DATE NOT NULL, -- the UTC date of at
);
