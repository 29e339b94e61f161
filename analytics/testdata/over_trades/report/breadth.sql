-- breadth lists UTC hours in which anything traded in [window_start, window_end): how much of the
-- market moved, and which way.
--
-- Volumes are in USDT at the window's own prices. The first and the last hour count only trades in the
-- window.
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
-- column:  quote_volume_usdt  DOUBLE  USDT at the window's own prices
-- column:  usdt_symbols  BIGINT  symbols of which pairs lead to USDT
-- key:     hour
WITH
btc_hours AS (
    SELECT
        date_trunc('hour', traded_at) AS hour,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE / sum(qty::DECIMAL(38, 8))::DOUBLE AS rate,
    FROM trades
    WHERE symbol = 'BTCUSDT'
        AND traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY hour
),
btc_window AS (
    SELECT sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE / sum(qty::DECIMAL(38, 8))::DOUBLE AS rate
    FROM trades
    WHERE symbol = 'BTCUSDT'
        AND traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
),
symbol_amounts AS (
    SELECT
        symbol,
        date_trunc('hour', traded_at) AS hour,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8)) AS amount,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, hour
),
-- The only quote assets of the test are BTC and USDT.
usdt_hours AS (
    SELECT
        symbol,
        symbol_amounts.hour,
        CASE
            WHEN symbol LIKE '%BTC' THEN (amount::DOUBLE * coalesce(btc_hours.rate, btc_window.rate))::DECIMAL(38, 16)
            ELSE amount
        END AS usdt,
        CASE WHEN symbol LIKE '%BTC' THEN coalesce(btc_hours.rate, btc_window.rate) END AS rate,
    FROM symbol_amounts
    CROSS JOIN btc_window
    LEFT JOIN btc_hours ON btc_hours.hour = symbol_amounts.hour
),
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
    (
        SELECT sum(usdt)::DOUBLE
        FROM usdt_hours
        WHERE usdt_hours.hour = symbol_hours.hour
    ) AS quote_volume_usdt,
    (
        SELECT count(usdt)
        FROM usdt_hours
        WHERE usdt_hours.hour = symbol_hours.hour
    ) AS usdt_symbols,
FROM symbol_hours
GROUP BY hour
ORDER BY hour
