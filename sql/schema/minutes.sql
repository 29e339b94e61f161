-- minutes is the tape by the minute: one row a (symbol, minute) in which it traded or in which ids are missing. It is made of trades,
-- gaps and bounds by derived/traded_minutes.sql and derived/minutes.sql. An order is all trades of a symbol in one millisecond in which the taker
-- was on the same side; a rush order is one that traded at two or more prices. Both are the same in either feed.
CREATE TABLE minutes (
    symbol VARCHAR NOT NULL,
    minute TIMESTAMP NOT NULL, -- UTC, its start
    is_recorded BOOLEAN NOT NULL, -- false: ids are missing in it, or the symbol's record begins in it
    recorded_from TIMESTAMP NOT NULL, -- UTC, the first whole minute of the symbol's record, the same in all its rows
    trades BIGINT NOT NULL, -- raw trades; 0, and NULL in what follows, where there is none
    open DOUBLE, -- quote asset per base asset
    high DOUBLE,
    low DOUBLE,
    close DOUBLE,
    volume DOUBLE, -- base asset
    quote_volume DOUBLE, -- quote asset
    buy_quote_volume DOUBLE, -- quote asset, of it what takers bought
    buy_orders BIGINT,
    sell_orders BIGINT,
    rush_buys BIGINT,
    rush_sells BIGINT,
    largest_order DOUBLE, -- quote asset
    first_id BIGINT,
    last_id BIGINT,
    first_at TIMESTAMP, -- UTC, of the first and the last trade
    last_at TIMESTAMP,
);
