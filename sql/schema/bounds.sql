-- bounds holds the first and the last trade of each symbol that was ever recorded: one row per
-- symbol.
CREATE TABLE bounds (
    symbol VARCHAR NOT NULL,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    first_at TIMESTAMP NOT NULL, -- UTC, traded_at of first_id
    last_at TIMESTAMP NOT NULL, -- UTC, traded_at of last_id
);
