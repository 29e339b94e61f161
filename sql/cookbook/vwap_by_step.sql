-- vwap_by_step lists slices of time in which a symbol traded, with the volume-weighted mean price,
-- the plain mean price, and the distance of the last price.
--
-- Reads trades, not summaries: the plain mean is over the prices of all trades.
--
-- reads:   trades        from since
-- param:   step          INTERVAL   length of a slice; default 1 hour
-- param:   since         TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until         TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  bucket        TIMESTAMP  UTC, start of the slice
-- column:  vwap          DOUBLE     quote asset per base asset, weighted by qty
-- column:  mean_price    DOUBLE     quote asset per base asset, every row with equal weight
-- column:  close_above   DOUBLE     percent, last price over vwap
-- column:  quote_volume  DOUBLE     quote asset
-- key:     symbol, bucket
WITH
slices AS (
    SELECT
        symbol,
        time_bucket(coalesce(getvariable('step')::INTERVAL, INTERVAL '1 hour'), traded_at) AS bucket,
        sum(price * qty) / nullif(sum(qty), 0) AS vwap,
        avg(price) AS mean_price,
        arg_max(price, id) AS close,
        sum(price * qty) AS quote_volume,
    FROM trades
    WHERE traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY symbol, bucket
)
SELECT
    symbol,
    bucket,
    vwap,
    mean_price,
    (close / nullif(vwap, 0) - 1) * 100 AS close_above,
    quote_volume,
FROM slices
ORDER BY symbol, bucket
