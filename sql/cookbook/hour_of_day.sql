-- hour_of_day lists the hours of the UTC day in which a symbol traded: when its market is busy.
--
-- Means are over all days on which the symbol is on the tape, so an hour without trades counts as 0
-- on that day.
--
-- reads:   trades             of the symbol, from since
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
hours AS (
    SELECT
        date,
        hour(traded_at) AS hour,
        sum(last_trade_id - first_trade_id + 1)::BIGINT AS trades,
        sum(price * qty) AS quote_volume,
        (max(price) / nullif(min(price), 0) - 1) * 100 AS range,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY date, hour
),
days AS (
    SELECT count(DISTINCT date) AS days,
    FROM hours
)
SELECT
    hour,
    sum(trades)::DOUBLE / any_value(days) AS mean_trades,
    sum(quote_volume) / any_value(days) AS mean_quote_volume,
    sum(quote_volume) / nullif(sum(sum(quote_volume)) OVER (), 0) AS volume_share,
    avg(range) AS mean_range,
FROM hours
CROSS JOIN days
GROUP BY hour
ORDER BY hour
