-- movers lists the symbols that rose the most and those that fell the most in [window_start,
-- window_end), by close over open.
--
-- A symbol whose close equals its open is in neither group. Symbols that moved equally are ranked
-- by name.
--
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- param:   top           BIGINT     symbols of each side, >= 1; default 10
-- param:   symbols       VARCHAR    symbols to rank, separated by commas, empty for all; default ''
-- column:  side          VARCHAR    gainer or loser
-- column:  rank          BIGINT     1 moved the most
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  change        DOUBLE     percent, close over open
-- column:  open          DOUBLE     quote asset per base asset, price of the lowest id
-- column:  close         DOUBLE     quote asset per base asset, price of the highest id
-- column:  high          DOUBLE     quote asset per base asset, highest price
-- column:  low           DOUBLE     quote asset per base asset, lowest price
-- column:  trades        BIGINT     raw trades
-- column:  quote_volume  DOUBLE     quote asset, sum of price times qty
-- column:  quote_volume_usdt  DOUBLE  USDT at the window's own prices
-- key:     side, rank
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
symbol_prices AS (
    SELECT
        symbol,
        arg_min(price, id) AS open,
        arg_max(price, id) AS close,
        (close - open) / nullif(open, 0) * 100 AS change,
        max(price) AS high,
        min(price) AS low,
        sum(last_trade_id - first_trade_id + 1)::BIGINT AS trades,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE AS quote_volume,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
        AND ($symbols::VARCHAR = '' OR list_contains(string_split($symbols::VARCHAR, ','), symbol))
    GROUP BY symbol
)
SELECT
    CASE WHEN close > open THEN 'gainer' ELSE 'loser' END AS side,
    row_number() OVER (PARTITION BY side ORDER BY abs(change) DESC, symbol) AS rank,
    symbol,
    change,
    open,
    close,
    high,
    low,
    trades,
    quote_volume,
    (
        SELECT CASE WHEN bool_and(usdt IS NOT NULL) THEN sum(usdt)::DOUBLE END
        FROM usdt_hours
        WHERE usdt_hours.symbol = symbol_prices.symbol
    ) AS quote_volume_usdt,
FROM symbol_prices
WHERE close <> open
QUALIFY rank <= $top::BIGINT
ORDER BY side, rank
