-- largest_trades lists the largest rows of each symbol on the tape in [window_start, window_end),
-- by price times qty.
--
-- In the aggTrade feed a row is what one taker order took at one price; in the trade feed it is a
-- single match. Of equal rows the earlier comes first. More than five rows of a symbol are read from
-- trades: hour_largest keeps five of each hour.
--
-- reads:   hours           from window_start
-- reads:   hour_largest    from window_start
-- reads:   trades          from window_start
-- param:   window_start    TIMESTAMP  UTC, inclusive
-- param:   window_end      TIMESTAMP  UTC, exclusive
-- param:   top             BIGINT     rows of each symbol, 1 to 999999; default 3
-- column:  symbol          VARCHAR    as the exchange spells it
-- column:  rank            BIGINT     1 is the symbol's largest
-- column:  traded_at       TIMESTAMP  UTC, when it matched
-- column:  taker_side      VARCHAR    buy or sell, what the taker did
-- column:  price           DOUBLE     quote asset per base asset, what was paid
-- column:  qty             DOUBLE     base asset, what changed hands
-- column:  quote_qty       DOUBLE     quote asset, price times qty
-- column:  quote_qty_usdt  DOUBLE     USDT at the hour's mean price, quote_qty converted as in overview
-- column:  window_share    DOUBLE     share of the symbol's quote_volume in the window, 0 to 1
-- column:  id              BIGINT     the feed's own sequence
-- key:     symbol, rank
WITH
symbol_volumes AS (
    SELECT
        symbol,
        sum(quote_volume)::DOUBLE AS quote_volume,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    GROUP BY symbol
),
-- Of more than five rows, all may be of one hour.
candidates AS (
    SELECT
        symbol,
        quote_qty AS exact_quote_qty,
        id,
        price,
        qty,
        traded_at,
        is_buyer_maker,
    FROM hour_largest($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    WHERE $top::BIGINT <= 5
    UNION ALL
    SELECT
        symbol,
        price::DECIMAL(38, 8) * qty::DECIMAL(38, 8) AS exact_quote_qty,
        id,
        price,
        qty,
        traded_at,
        is_buyer_maker,
    FROM trades
    WHERE $top::BIGINT > 5
        AND traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
),
symbol_tops AS (
    SELECT
        symbol,
        max(
            {
                'exact_quote_qty': exact_quote_qty,
                'earlier': -id,
                'price': price,
                'qty': qty,
                'traded_at': traded_at,
                'is_buyer_maker': is_buyer_maker,
            },
            $top::BIGINT
        ) AS tops,
    FROM candidates
    GROUP BY symbol
),
ranked_trades AS (
    SELECT
        symbol,
        quote_volume,
        unnest(range(1, len(tops) + 1)) AS rank,
        unnest(tops) AS trade,
    FROM symbol_tops
    INNER JOIN symbol_volumes USING (symbol)
)
SELECT
    ranked_trades.symbol,
    rank,
    trade.traded_at AS traded_at,
    CASE WHEN trade.is_buyer_maker THEN 'sell' ELSE 'buy' END AS taker_side,
    trade.price AS price,
    trade.qty AS qty,
    trade.exact_quote_qty::DOUBLE AS quote_qty,
    in_usdt(trade.exact_quote_qty, rates.rate)::DOUBLE AS quote_qty_usdt,
    trade.exact_quote_qty::DOUBLE / nullif(quote_volume, 0) AS window_share,
    -trade.earlier AS id,
FROM ranked_trades
INNER JOIN usdt_rates($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS rates
    ON rates.symbol = ranked_trades.symbol
    AND rates.hour = date_trunc('hour', trade.traded_at)
ORDER BY ranked_trades.symbol, rank
