-- drawdown lists slices of time in which a symbol traded, with the highest and lowest price over a
-- time before, the slice included, and the distance of the close from both.
--
-- Steps of whole hours are made of hours, other steps of trades.
--
-- reads:   trades        of the symbol, from since
-- reads:   hours         of the symbol, from since
-- param:   symbol        VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   step          INTERVAL   length of a slice; default 1 hour
-- param:   length        INTERVAL   time over which high and low count; default 24 hours
-- param:   since         TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until         TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  bucket        TIMESTAMP  UTC, start of the slice
-- column:  close         DOUBLE     quote asset per base asset
-- column:  rolling_high  DOUBLE     quote asset per base asset
-- column:  rolling_low   DOUBLE     quote asset per base asset
-- column:  below_high    DOUBLE     percent, <= 0
-- column:  above_low     DOUBLE     percent, >= 0
-- column:  deepest       DOUBLE     percent, <= 0, lowest below_high so far
-- key:     bucket
WITH
slices AS (
    SELECT
        bucket,
        high,
        low,
        close,
    FROM candles(
        coalesce(getvariable('step')::INTERVAL, INTERVAL '1 hour'),
        since := coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01'),
        until := coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    )
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
),
rolling AS (
    SELECT
        bucket,
        close,
        max(high) OVER recent AS rolling_high,
        min(low) OVER recent AS rolling_low,
    FROM slices
    WINDOW
        recent AS (
            ORDER BY bucket
            RANGE BETWEEN (
                coalesce(getvariable('length')::INTERVAL, INTERVAL '24 hours')
                - coalesce(getvariable('step')::INTERVAL, INTERVAL '1 hour')
            ) PRECEDING AND CURRENT ROW
        )
)
SELECT
    bucket,
    close,
    rolling_high,
    rolling_low,
    (close / nullif(rolling_high, 0) - 1) * 100 AS below_high,
    (close / nullif(rolling_low, 0) - 1) * 100 AS above_low,
    min((close / nullif(rolling_high, 0) - 1) * 100) OVER (ORDER BY bucket) AS deepest,
FROM rolling
ORDER BY bucket
