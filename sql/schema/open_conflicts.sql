-- open_conflicts holds the rows of conflicts that are not resolved: the row on the tape does not have the
-- content that was refused, and the id was not dropped on purpose.
CREATE TABLE open_conflicts (
    symbol VARCHAR NOT NULL,
    id BIGINT NOT NULL,
    price DOUBLE NOT NULL,
    qty DOUBLE NOT NULL,
    first_trade_id BIGINT NOT NULL,
    last_trade_id BIGINT NOT NULL,
    traded_at TIMESTAMP NOT NULL, -- UTC
    is_buyer_maker BOOLEAN NOT NULL,
    source VARCHAR NOT NULL, -- stream, rest, archive, file or compact
    run_id VARCHAR NOT NULL, -- the run that wrote it, or empty
    other_price DOUBLE NOT NULL, -- of the row that was refused
    other_qty DOUBLE NOT NULL,
    other_first_trade_id BIGINT NOT NULL,
    other_last_trade_id BIGINT NOT NULL,
    other_traded_at TIMESTAMP NOT NULL, -- UTC
    other_is_buyer_maker BOOLEAN NOT NULL,
    other_source VARCHAR NOT NULL,
    other_run_id VARCHAR NOT NULL,
    found_at TIMESTAMP NOT NULL, -- UTC
    date DATE NOT NULL, -- the UTC date of traded_at
);
