-- Macros for the usual questions, in market.duckdb and in tapedeck query.

-- gaps(): the ids that are missing, with how many.
CREATE MACRO gaps() AS TABLE
SELECT
    symbol,
    first_id,
    last_id,
    last_id - first_id + 1 AS missing,
    after_at,
    before_at,
FROM gaps;

-- tape('BTCUSDT', '2026-01-15', '2026-01-16'): the trades of a symbol in a half-open time, in the exchange's order.
CREATE MACRO tape("symbol", "from", "to") AS TABLE
SELECT
    trades.id,
    trades.price,
    trades.qty,
    trades.price * trades.qty AS quote_qty,
    trades.first_trade_id,
    trades.last_trade_id,
    trades.traded_at,
    trades.is_buyer_maker,
    CASE WHEN trades.is_buyer_maker THEN 'sell' ELSE 'buy' END AS side,
FROM trades
WHERE
    trades.symbol = "symbol"
    AND trades.traded_at >= "from"::TIMESTAMP
    AND trades.traded_at < "to"::TIMESTAMP
    AND trades.date >= ("from"::TIMESTAMP)::DATE
    AND trades.date <= ("to"::TIMESTAMP)::DATE
ORDER BY trades.id;

-- candles('1 hour'), candles('1 minute', since := '2026-01-15', until := '2026-01-16'): a row for each symbol and step in which it traded.
CREATE MACRO candles(step, since := NULL, until := NULL) AS TABLE
SELECT
    trades.symbol,
    time_bucket(step::INTERVAL, trades.traded_at) AS bucket,
    arg_min(trades.price, trades.id) AS open,
    max(trades.price) AS high,
    min(trades.price) AS low,
    arg_max(trades.price, trades.id) AS close,
    sum(trades.qty) AS volume,
    sum(trades.price * trades.qty) AS quote_volume,
    sum(trades.last_trade_id - trades.first_trade_id + 1)::BIGINT AS trades,
FROM trades
WHERE
    (since IS NULL OR trades.traded_at >= since::TIMESTAMP AND trades.date >= (since::TIMESTAMP)::DATE)
    AND (until IS NULL OR trades.traded_at < until::TIMESTAMP AND trades.date <= (until::TIMESTAMP)::DATE)
GROUP BY
    trades.symbol,
    bucket
ORDER BY
    trades.symbol,
    bucket;

-- vwap('1 hour'): the mean price of each step, weighted by what was traded at it.
CREATE MACRO vwap(step, since := NULL, until := NULL) AS TABLE
SELECT
    trades.symbol,
    time_bucket(step::INTERVAL, trades.traded_at) AS bucket,
    sum(trades.price * trades.qty) / nullif(sum(trades.qty), 0) AS vwap,
    sum(trades.qty) AS volume,
    sum(trades.price * trades.qty) AS quote_volume,
    coalesce(sum(trades.price * trades.qty) FILTER (NOT trades.is_buyer_maker), 0) / nullif(sum(trades.price * trades.qty), 0) AS taker_buy_share,
FROM trades
WHERE
    (since IS NULL OR trades.traded_at >= since::TIMESTAMP AND trades.date >= (since::TIMESTAMP)::DATE)
    AND (until IS NULL OR trades.traded_at < until::TIMESTAMP AND trades.date <= (until::TIMESTAMP)::DATE)
GROUP BY
    trades.symbol,
    bucket
ORDER BY
    trades.symbol,
    bucket;
