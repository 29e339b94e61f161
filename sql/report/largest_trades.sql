-- largest_trades has a row for each of a symbol's largest rows of the tape in
-- [window_start, window_end), by price times qty. In the aggTrade feed a row is what one taker order
-- took at one price, in the trade feed a single match. Of equals the earlier comes first.
--
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- param:   top           BIGINT     rows of each symbol, >= 1; default 3
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
window_trades AS (
    SELECT
        symbol,
        id,
        price,
        qty,
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
        sum(exact_quote_qty)::DOUBLE AS quote_volume,
    FROM window_trades
    GROUP BY symbol
),
ranked_trades AS (
    SELECT
        symbol,
        row_number() OVER (PARTITION BY symbol ORDER BY (exact_quote_qty, -id) DESC) AS rank,
        traded_at,
        CASE WHEN is_buyer_maker THEN 'sell' ELSE 'buy' END AS taker_side,
        price,
        qty,
        exact_quote_qty::DOUBLE AS quote_qty,
        id,
    FROM window_trades
    QUALIFY rank <= $top::BIGINT
)
SELECT
    symbol,
    rank,
    traded_at,
    taker_side,
    price,
    qty,
    quote_qty,
    quote_qty / nullif(quote_volume, 0) AS window_share,
    id,
FROM ranked_trades
INNER JOIN symbol_totals USING (symbol)
ORDER BY symbol, rank
