-- coverage is how complete the record was when it was last checked: one row a (symbol, date), the newest check.
CREATE TABLE coverage (
    symbol VARCHAR NOT NULL,
    first_id BIGINT, -- the ends of what is on the tape that day; NULL on a day without trades
    last_id BIGINT,
    trades BIGINT NOT NULL, -- ids on the tape
    missing BIGINT NOT NULL, -- ids that are not on the tape and could be had
    absent_at_source BIGINT NOT NULL, -- ids that the exchange itself does not have
    state VARCHAR NOT NULL, -- proven, open, gap or absent
    checked_at TIMESTAMP NOT NULL, -- UTC
    date DATE NOT NULL, -- UTC
);
