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

-- pieces_of('1 hour', NULL, NULL) lists what candles and vwap add up: hours if the step is whole hours,
-- otherwise trades. Sums are exact decimals, so they do not depend on the order of the rows.
CREATE MACRO pieces_of(step, since, until) AS TABLE
SELECT
    hours.symbol,
    hours.hour AS piece_at,
    hours.open,
    hours.high,
    hours.low,
    hours.close,
    hours.volume,
    hours.quote_volume,
    hours.buy_quote_volume,
    hours.trades,
    hours.first_id,
    hours.last_id,
FROM hours(since, until) AS hours
WHERE epoch_us(step::INTERVAL) % 3600000000 = 0
UNION ALL
SELECT
    trades.symbol,
    trades.traded_at AS piece_at,
    trades.price AS open,
    trades.price AS high,
    trades.price AS low,
    trades.price AS close,
    trades.qty::DECIMAL(38, 8) AS volume,
    trades.price::DECIMAL(38, 8) * trades.qty::DECIMAL(38, 8) AS quote_volume,
    CASE WHEN trades.is_buyer_maker THEN 0 ELSE trades.price::DECIMAL(38, 8) * trades.qty::DECIMAL(38, 8) END AS buy_quote_volume,
    trades.last_trade_id - trades.first_trade_id + 1 AS trades,
    trades.id AS first_id,
    trades.id AS last_id,
FROM trades_between(since, until) AS trades
WHERE epoch_us(step::INTERVAL) % 3600000000 <> 0;

-- candles('1 hour') and candles('1 minute', since := '2026-01-15', until := '2026-01-16') list open,
-- high, low, close and volume of each symbol and step in which it traded.
CREATE MACRO candles(step, since := NULL, until := NULL) AS TABLE
SELECT
    pieces.symbol,
    time_bucket(step::INTERVAL, pieces.piece_at) AS bucket,
    arg_min(pieces.open, pieces.first_id) AS open,
    max(pieces.high) AS high,
    min(pieces.low) AS low,
    arg_max(pieces.close, pieces.last_id) AS close,
    sum(pieces.volume)::DOUBLE AS volume,
    sum(pieces.quote_volume)::DOUBLE AS quote_volume,
    sum(pieces.trades)::BIGINT AS trades,
FROM pieces_of(step, since, until) AS pieces
GROUP BY
    pieces.symbol,
    bucket
ORDER BY
    pieces.symbol,
    bucket;

-- vwap('1 hour') lists the volume-weighted mean price of each symbol and step in which it traded.
CREATE MACRO vwap(step, since := NULL, until := NULL) AS TABLE
SELECT
    pieces.symbol,
    time_bucket(step::INTERVAL, pieces.piece_at) AS bucket,
    sum(pieces.quote_volume)::DOUBLE / nullif(sum(pieces.volume)::DOUBLE, 0) AS vwap,
    sum(pieces.volume)::DOUBLE AS volume,
    sum(pieces.quote_volume)::DOUBLE AS quote_volume,
    sum(pieces.buy_quote_volume)::DOUBLE / nullif(sum(pieces.quote_volume)::DOUBLE, 0) AS taker_buy_share,
FROM pieces_of(step, since, until) AS pieces
GROUP BY
    pieces.symbol,
    bucket
ORDER BY
    pieces.symbol,
    bucket;
