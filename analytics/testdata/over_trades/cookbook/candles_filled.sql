-- candles_filled lists every slice of time between the first and the last trade of a symbol,
-- including slices without trades.
--
-- A candle without trades has the close before it as its four prices and no volume, which charts and
-- indicators need. Candles inside a gap of the tape are filled in the same way; the query longest_gaps
-- lists the gaps.
--
-- reads:   trades     of the symbol, from since
-- param:   symbol     VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   step       INTERVAL   length of a slice; default 1 minute
-- param:   since      TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until      TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  bucket     TIMESTAMP  UTC, start of the slice
-- column:  open       DOUBLE     quote asset per base asset
-- column:  high       DOUBLE     quote asset per base asset
-- column:  low        DOUBLE     quote asset per base asset
-- column:  close      DOUBLE     quote asset per base asset
-- column:  volume     DOUBLE     base asset
-- column:  trades     BIGINT     raw trades
-- key:     bucket
WITH
traded AS (
    SELECT
        time_bucket(coalesce(getvariable('step')::INTERVAL, INTERVAL '1 minute'), traded_at) AS bucket,
        arg_min(price, id) AS open,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, id) AS close,
        sum(qty) AS volume,
        sum(last_trade_id - first_trade_id + 1)::BIGINT AS trades,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY bucket
),
slices AS (
    SELECT unnest(generate_series(min(bucket), max(bucket), coalesce(getvariable('step')::INTERVAL, INTERVAL '1 minute'))) AS bucket,
    FROM traded
),
closes AS (
    SELECT
        bucket,
        open,
        high,
        low,
        last_value(close IGNORE NULLS) OVER (ORDER BY bucket) AS close,
        coalesce(volume, 0) AS volume,
        coalesce(trades, 0) AS trades,
    FROM slices
    LEFT JOIN traded USING (bucket)
)
SELECT
    bucket,
    coalesce(open, close) AS open,
    coalesce(high, close) AS high,
    coalesce(low, close) AS low,
    close,
    volume,
    trades,
FROM closes
ORDER BY bucket
