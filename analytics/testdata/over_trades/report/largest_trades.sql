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
-- column:  window_share  DOUBLE     share of the symbol's quote_volume in the window, 0 to 1
-- column:  id            BIGINT     the feed's own sequence
-- key:     symbol, rank
WITH
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
    trade.exact_quote_qty::DOUBLE / nullif(quote_volume, 0) AS window_share,
    -trade.earlier AS id,
FROM ranked_trades
ORDER BY symbol, rank
