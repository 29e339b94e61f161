-- drops holds what was removed from the tape on purpose: one row per command, symbol and run of ids.
CREATE TABLE drops (
    "at" TIMESTAMP NOT NULL, -- UTC
    what VARCHAR NOT NULL, -- trades, alerts or conflicts
    symbol VARCHAR NOT NULL, -- empty for alerts of all symbols
    first_id BIGINT, -- both ends included; NULL for alerts
    last_id BIGINT,
    window_start TIMESTAMP, -- UTC, inclusive; NULL if the command had no window
    window_end TIMESTAMP, -- UTC, exclusive
    detector VARCHAR NOT NULL, -- of alerts, else empty
    origin VARCHAR NOT NULL, -- the import that was removed, else empty
    rows BIGINT NOT NULL, -- removed
    reason VARCHAR NOT NULL, -- the command line, or older-than
    run_id VARCHAR NOT NULL,
    date DATE NOT NULL, -- the UTC date of at
);
