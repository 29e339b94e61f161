-- realised_volatility lists symbols and UTC dates with the square root of the summed squared log
-- returns of slices of time, for the day and scaled to a year.
--
-- Slices without trades keep the price. The value of a day that is only partly on the tape is too
-- small.
--
-- reads:   trades      from since
-- param:   step        INTERVAL   length of a slice; default 5 minutes
-- param:   since       TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until       TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol      VARCHAR    as the exchange spells it
-- column:  day         DATE       UTC date
-- column:  slices      BIGINT     slices in which it traded
-- column:  volatility  DOUBLE     percent, >= 0, of the day
-- column:  of_a_year   DOUBLE     percent, >= 0, of the day times the root of 365
-- key:     symbol, day
WITH
slices AS (
    SELECT
        symbol,
        time_bucket(coalesce(getvariable('step')::INTERVAL, INTERVAL '5 minutes'), traded_at) AS bucket,
        arg_min(price, id) AS open,
        arg_max(price, id) AS close,
    FROM trades
    WHERE traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY symbol, bucket
),
returns AS (
    SELECT
        symbol,
        bucket::DATE AS day,
        bucket,
        ln(nullif(close, 0) / nullif(coalesce(lag(close) OVER by_time, open), 0)) AS log_return,
    FROM slices
    WINDOW by_time AS (PARTITION BY symbol, bucket::DATE ORDER BY bucket)
)
SELECT
    symbol,
    day,
    count(*) AS slices,
    sqrt(sum(pow(log_return, 2) ORDER BY bucket)) * 100 AS volatility,
    sqrt(365 * sum(pow(log_return, 2) ORDER BY bucket)) * 100 AS of_a_year,
FROM returns
GROUP BY symbol, day
ORDER BY symbol, day
