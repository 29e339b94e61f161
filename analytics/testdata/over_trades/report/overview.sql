-- overview lists the symbols that traded in [window_start, window_end): how much, at what prices,
-- and which way the takers went.
--
-- Sums use exact decimals of 16 places and become doubles at the end, so they do not depend on the
-- order of the rows. Open and close are the prices of the lowest and the highest id, which is the
-- order in which the exchange matched the trades; many trades share a traded_at.
--
-- reads:   trades           from window_start
-- param:   window_start     TIMESTAMP  UTC, inclusive
-- param:   window_end       TIMESTAMP  UTC, exclusive
-- column:  symbol           VARCHAR    as the exchange spells it
-- column:  trades           BIGINT     raw trades, in either feed
-- column:  rows             BIGINT     rows of the tape
-- column:  open             DOUBLE     quote asset per base asset, price of the lowest id
-- column:  high             DOUBLE     quote asset per base asset, highest price
-- column:  low              DOUBLE     quote asset per base asset, lowest price
-- column:  close            DOUBLE     quote asset per base asset, price of the highest id
-- column:  change           DOUBLE     percent, close over open
-- column:  volume           DOUBLE     base asset, sum of qty
-- column:  quote_volume     DOUBLE     quote asset, sum of price times qty
-- column:  quote_volume_usdt  DOUBLE  USDT at the window's own prices
-- column:  vwap             DOUBLE     quote asset per base asset, quote_volume over volume
-- column:  taker_buy_share  DOUBLE     share of quote_volume, 0 to 1, in which the taker bought
-- column:  first_traded_at  TIMESTAMP  UTC, of the lowest id
-- column:  last_traded_at   TIMESTAMP  UTC, of the highest id
-- key:     symbol
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
window_trades AS (
    SELECT
        symbol,
        id,
        price,
        last_trade_id - first_trade_id + 1 AS raw_trades,
        qty::DECIMAL(38, 8) AS exact_qty,
        price::DECIMAL(38, 8) * qty::DECIMAL(38, 8) AS exact_quote_qty,
        traded_at,
        is_buyer_maker,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
),
symbol_totals AS (
    SELECT
        symbol,
        sum(raw_trades)::BIGINT AS trades,
        count(*) AS rows,
        arg_min(price, id) AS open,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, id) AS close,
        sum(exact_qty)::DOUBLE AS volume,
        sum(exact_quote_qty)::DOUBLE AS quote_volume,
        coalesce(sum(exact_quote_qty) FILTER (WHERE NOT is_buyer_maker), 0)::DOUBLE AS taker_buy_quote_volume,
        arg_min(traded_at, id) AS first_traded_at,
        arg_max(traded_at, id) AS last_traded_at,
    FROM window_trades
    GROUP BY symbol
)
SELECT
    symbol,
    trades,
    rows,
    open,
    high,
    low,
    close,
    (close - open) / nullif(open, 0) * 100 AS change,
    volume,
    quote_volume,
    (
        SELECT CASE WHEN bool_and(usdt IS NOT NULL) THEN sum(usdt)::DOUBLE END
        FROM usdt_hours
        WHERE usdt_hours.symbol = symbol_totals.symbol
    ) AS quote_volume_usdt,
    quote_volume / nullif(volume, 0) AS vwap,
    taker_buy_quote_volume / nullif(quote_volume, 0) AS taker_buy_share,
    first_traded_at,
    last_traded_at,
FROM symbol_totals
ORDER BY symbol
