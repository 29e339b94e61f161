-- gaps is the holes in the ids: one row a run of ids that are not on the tape between ids that are or were.
CREATE TABLE gaps (
    symbol VARCHAR NOT NULL,
    first_id BIGINT NOT NULL, -- the missing ids, both included
    last_id BIGINT NOT NULL,
    after_at TIMESTAMP, -- UTC, traded_at of the trade before the hole
    before_at TIMESTAMP, -- UTC, traded_at of the trade after the hole
);
