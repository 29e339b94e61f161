-- trades holds the tape: one row per trade of the tape's feed. Each (symbol, id) is there once.
CREATE TABLE trades (
    symbol VARCHAR NOT NULL, -- as the exchange spells it
    id BIGINT NOT NULL, -- the feed's own sequence, consecutive per symbol
    price DOUBLE NOT NULL, -- quote asset per base asset
    qty DOUBLE NOT NULL, -- base asset
    first_trade_id BIGINT NOT NULL, -- the raw trades in this row
    last_trade_id BIGINT NOT NULL,
    traded_at TIMESTAMP NOT NULL, -- UTC
    is_buyer_maker BOOLEAN NOT NULL, -- true: the taker sold
    date DATE NOT NULL, -- the UTC date of traded_at
);
