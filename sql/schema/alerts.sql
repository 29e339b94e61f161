-- alerts holds what the detectors found: one row per (detector, symbol, at).
CREATE TABLE alerts (
    detector VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    "at" TIMESTAMP NOT NULL, -- UTC, the instant from which it could be known
    score DOUBLE NOT NULL, -- in the detector's own unit
    severity VARCHAR NOT NULL, -- low, medium or high
    message VARCHAR NOT NULL,
    first_id BIGINT NOT NULL, -- the trades that the alert is about
    last_id BIGINT NOT NULL,
    extra JSON NOT NULL, -- further columns of the detector
    run_id VARCHAR NOT NULL, -- the run that raised it
    found_at TIMESTAMP NOT NULL, -- UTC
    date DATE NOT NULL, -- the UTC date of at
);
