-- Macros for common questions, in market.duckdb and in tapedeck query.

-- gaps() lists the gaps in the ids, with the number of missing ids.
CREATE MACRO gaps() AS TABLE
SELECT
    symbol,
    first_id,
    last_id,
    last_id - first_id + 1 AS missing,
    after_at,
    before_at,
FROM gaps;

-- trades_between('2026-01-15', '2026-01-16') lists the trades of all symbols in [since, until). NULL
-- leaves an end open. The conditions on date let DuckDB skip the files of other days.
CREATE MACRO trades_between(since, until) AS TABLE
SELECT
    trades.symbol,
    trades.id,
    trades.price,
    trades.qty,
    trades.price * trades.qty AS quote_qty,
    trades.first_trade_id,
    trades.last_trade_id,
    trades.traded_at,
    trades.is_buyer_maker,
FROM trades
WHERE
    (since IS NULL OR trades.traded_at >= since::TIMESTAMP AND trades.date >= (since::TIMESTAMP)::DATE)
    AND (until IS NULL OR trades.traded_at < until::TIMESTAMP AND trades.date <= (until::TIMESTAMP)::DATE);

-- tape('BTCUSDT', '2026-01-15', '2026-01-16') lists the trades of a symbol in [from, to), in the
-- exchange's order.
CREATE MACRO tape("symbol", "from", "to") AS TABLE
SELECT
    trades.id,
    trades.price,
    trades.qty,
    trades.quote_qty,
    trades.first_trade_id,
    trades.last_trade_id,
    trades.traded_at,
    trades.is_buyer_maker,
    CASE WHEN trades.is_buyer_maker THEN 'sell' ELSE 'buy' END AS side,
FROM trades_between("from", "to") AS trades
WHERE trades.symbol = "symbol"
ORDER BY trades.id;

-- candles('1 hour') and candles('1 minute', since := '2026-01-15', until := '2026-01-16') list open,
-- high, low, close and volume of each symbol and step in which it traded.
CREATE MACRO candles(step, since := NULL, until := NULL) AS TABLE
SELECT
    trades.symbol,
    time_bucket(step::INTERVAL, trades.traded_at) AS bucket,
    arg_min(trades.price, trades.id) AS open,
    max(trades.price) AS high,
    min(trades.price) AS low,
    arg_max(trades.price, trades.id) AS close,
    sum(trades.qty) AS volume,
    sum(trades.quote_qty) AS quote_volume,
    sum(trades.last_trade_id - trades.first_trade_id + 1)::BIGINT AS trades,
FROM trades_between(since, until) AS trades
GROUP BY
    trades.symbol,
    bucket
ORDER BY
    trades.symbol,
    bucket;

-- vwap('1 hour') lists the volume-weighted mean price of each symbol and step in which it traded.
CREATE MACRO vwap(step, since := NULL, until := NULL) AS TABLE
SELECT
    trades.symbol,
    time_bucket(step::INTERVAL, trades.traded_at) AS bucket,
    sum(trades.quote_qty) / nullif(sum(trades.qty), 0) AS vwap,
    sum(trades.qty) AS volume,
    sum(trades.quote_qty) AS quote_volume,
    coalesce(sum(trades.quote_qty) FILTER (NOT trades.is_buyer_maker), 0)
    / nullif(sum(trades.quote_qty), 0) AS taker_buy_share,
FROM trades_between(since, until) AS trades
GROUP BY
    trades.symbol,
    bucket
ORDER BY
    trades.symbol,
    bucket;
