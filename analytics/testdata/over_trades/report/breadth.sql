-- breadth lists UTC hours in which anything traded in [window_start, window_end): how much of the
-- market moved, and which way.
--
-- Volumes are left out because those of different quote assets cannot be added. The first and the
-- last hour count only trades in the window.
--
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- column:  hour          TIMESTAMP  UTC, start of the hour
-- column:  trades        BIGINT     raw trades of the symbols together
-- column:  symbols       BIGINT     symbols that traded
-- column:  rose          BIGINT     symbols whose last price of the hour is above their first
-- column:  fell          BIGINT     symbols whose last price of the hour is below their first
-- column:  rising_share  DOUBLE     share of the symbols that moved, 0 to 1
-- key:     hour
WITH
symbol_hours AS (
    SELECT
        date_trunc('hour', traded_at) AS hour,
        symbol,
        sum(last_trade_id - first_trade_id + 1)::BIGINT AS trades,
        arg_min(price, id) AS open,
        arg_max(price, id) AS close,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY hour, symbol
)
SELECT
    hour,
    sum(trades)::BIGINT AS trades,
    count(*) AS symbols,
    count(*) FILTER (WHERE close > open) AS rose,
    count(*) FILTER (WHERE close < open) AS fell,
    (count(*) FILTER (WHERE close > open))::DOUBLE / nullif(count(*) FILTER (WHERE close <> open), 0) AS rising_share,
FROM symbol_hours
GROUP BY hour
ORDER BY hour
