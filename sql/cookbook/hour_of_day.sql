-- hour_of_day lists the hours of the UTC day in which a symbol traded: when its market is busy.
--
-- Means are over all days on which the symbol is on the tape, so an hour without trades counts as 0
-- on that day.
--
-- reads:   hours              of the symbol, from since
-- param:   symbol             VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   since              TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until              TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  hour               BIGINT     of the UTC day, 0 to 23
-- column:  mean_trades        DOUBLE     raw trades per day
-- column:  mean_quote_volume  DOUBLE     quote asset per day
-- column:  volume_share       DOUBLE     share of all quote volume, 0 to 1
-- column:  mean_range         DOUBLE     percent, >= 0, highest over lowest price of the hour
-- key:     hour
WITH
symbol_hours AS (
    SELECT
        hour::DATE AS date,
        date_part('hour', hour) AS hour_of_day,
        trades,
        quote_volume,
        (high / nullif(low, 0) - 1) * 100 AS range,
    FROM hours(
        coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01'),
        coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    )
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
),
days AS (
    SELECT count(DISTINCT date) AS days,
    FROM symbol_hours
)
SELECT
    hour_of_day AS hour,
    sum(trades)::DOUBLE / any_value(days) AS mean_trades,
    sum(quote_volume)::DOUBLE / any_value(days) AS mean_quote_volume,
    sum(quote_volume)::DOUBLE / nullif(sum(sum(quote_volume)) OVER ()::DOUBLE, 0) AS volume_share,
    sum(range::DECIMAL(38, 12))::DOUBLE / count(range) AS mean_range,
FROM symbol_hours
CROSS JOIN days
GROUP BY hour_of_day
ORDER BY hour_of_day
