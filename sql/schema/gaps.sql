-- gaps holds the gaps in the ids: one row per run of ids that are not on the tape between ids that
-- are or were.
CREATE TABLE gaps (
    symbol VARCHAR NOT NULL,
    first_id BIGINT NOT NULL, -- the missing ids, both ends included
    last_id BIGINT NOT NULL,
    after_at TIMESTAMP, -- UTC, no missing id traded before: traded_at of the trade before the gap, or
    -- later by an answer of the exchange
    before_at TIMESTAMP, -- UTC, no missing id traded after: traded_at of the trade after the gap, or
    -- earlier by an answer of the exchange
);
