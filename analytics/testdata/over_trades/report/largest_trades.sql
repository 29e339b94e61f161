-- largest_trades lists the largest rows of each symbol on the tape in [window_start, window_end),
-- by price times qty.
--
-- In the aggTrade feed a row is what one taker order took at one price; in the trade feed it is a
-- single match. Of equal rows the earlier comes first.
--
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- param:   top           BIGINT     rows of each symbol, 1 to 999999; default 3
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  rank          BIGINT     1 is the symbol's largest
-- column:  traded_at     TIMESTAMP  UTC, when it matched
-- column:  taker_side    VARCHAR    buy or sell, what the taker did
-- column:  price         DOUBLE     quote asset per base asset, what was paid
-- column:  qty           DOUBLE     base asset, what changed hands
-- column:  quote_qty     DOUBLE     quote asset, price times qty
-- column:  quote_qty_usdt  DOUBLE  USDT
-- column:  window_share  DOUBLE     share of the symbol's quote_volume in the window, 0 to 1
-- column:  id            BIGINT     the feed's own sequence
-- key:     symbol, rank
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
symbol_tops AS (
    SELECT
        symbol,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE AS quote_volume,
        max(
            {
                'exact_quote_qty': price::DECIMAL(38, 8) * qty::DECIMAL(38, 8),
                'earlier': -id,
                'price': price,
                'qty': qty,
                'traded_at': traded_at,
                'is_buyer_maker': is_buyer_maker,
            },
            $top::BIGINT
        ) AS tops,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol
),
ranked_trades AS (
    SELECT
        symbol,
        quote_volume,
        unnest(range(1, len(tops) + 1)) AS rank,
        unnest(tops) AS trade,
    FROM symbol_tops
)
SELECT
    symbol,
    rank,
    trade.traded_at AS traded_at,
    CASE WHEN trade.is_buyer_maker THEN 'sell' ELSE 'buy' END AS taker_side,
    trade.price AS price,
    trade.qty AS qty,
    trade.exact_quote_qty::DOUBLE AS quote_qty,
    CASE
        WHEN symbol LIKE '%BTC' THEN (
            SELECT (trade.exact_quote_qty::DOUBLE * rate)::DECIMAL(38, 16)::DOUBLE
            FROM usdt_hours
            WHERE usdt_hours.symbol = ranked_trades.symbol
                AND usdt_hours.hour = date_trunc('hour', trade.traded_at)
        )
        ELSE trade.exact_quote_qty::DOUBLE
    END AS quote_qty_usdt,
    trade.exact_quote_qty::DOUBLE / nullif(quote_volume, 0) AS window_share,
    -trade.earlier AS id,
FROM ranked_trades
ORDER BY symbol, rank
