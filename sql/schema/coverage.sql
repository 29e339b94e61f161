-- coverage holds how complete the record was at the last check: one row per (symbol, date).
CREATE TABLE coverage (
    symbol VARCHAR NOT NULL,
    first_id BIGINT, -- first and last id on the tape that day; NULL without trades
    last_id BIGINT,
    trades BIGINT NOT NULL, -- ids on the tape
    missing BIGINT NOT NULL, -- missing ids that may still be fetched
    absent_at_source BIGINT NOT NULL, -- missing ids that the exchange itself lacks
    conflicts BIGINT NOT NULL, -- of that day's trades, not resolved; 0 in a check by an earlier version
    state VARCHAR NOT NULL, -- proven, open, gap, absent or dropped
    checked_at TIMESTAMP NOT NULL, -- UTC
    date DATE NOT NULL, -- UTC
);
