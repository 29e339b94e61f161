-- bounds holds the first and the last trade of each symbol that was ever recorded, and the window in
-- which its record is known to be whole apart from its gaps: one row per symbol.
--
-- Before known_since and from known_until on there may have been trades that were never recorded.
-- What proves an end is a trade, a recorder that watched the stream, or an answer of the exchange.
CREATE TABLE bounds (
    symbol VARCHAR NOT NULL,
    first_id BIGINT NOT NULL,
    last_id BIGINT NOT NULL,
    first_at TIMESTAMP NOT NULL, -- UTC, traded_at of first_id
    last_at TIMESTAMP NOT NULL, -- UTC, traded_at of last_id
    known_since TIMESTAMP NOT NULL, -- UTC, at or before first_at
    known_since_by VARCHAR NOT NULL, -- trade, stream, exchange, or drop: what was before was removed
    known_until TIMESTAMP NOT NULL, -- UTC, at or after last_at, exclusive
    known_until_by VARCHAR NOT NULL, -- trade, stream or exchange
);
