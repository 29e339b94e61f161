-- minutes holds the tape by the minute: one row per (symbol, minute) in which the symbol traded or
-- in which ids are missing. derived/traded_minutes.sql and derived/minutes.sql define it over
-- trades, gaps and bounds. A taker order is all trades of a symbol in one millisecond with the
-- taker on the same side. A rush order is a taker order that traded at two or more prices. Both are
-- the same in either feed.
CREATE TABLE minutes (
    symbol VARCHAR NOT NULL,
    minute TIMESTAMP NOT NULL, -- UTC, start of the minute
    is_recorded BOOLEAN NOT NULL, -- false: ids are missing, or the symbol's record begins in this minute
    recorded_from TIMESTAMP NOT NULL, -- UTC, first whole minute of the symbol's record, the same in all rows
    trades BIGINT NOT NULL, -- raw trades; without any it is 0 and the next columns are NULL
    open DOUBLE, -- quote asset per base asset
    high DOUBLE,
    low DOUBLE,
    close DOUBLE,
    volume DOUBLE, -- base asset
    quote_volume DOUBLE, -- quote asset
    buy_quote_volume DOUBLE, -- quote asset, bought by takers
    buy_orders BIGINT,
    sell_orders BIGINT,
    rush_buys BIGINT,
    rush_sells BIGINT,
    largest_order DOUBLE, -- quote asset
    first_id BIGINT,
    last_id BIGINT,
    first_at TIMESTAMP, -- UTC, of first_id and last_id
    last_at TIMESTAMP,
);
