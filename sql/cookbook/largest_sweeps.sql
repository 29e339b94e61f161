-- largest_sweeps lists the taker orders that moved a price the furthest at one instant.
--
-- An order is everything that the takers of a symbol traded on one side at one instant.
--
-- Reads trades, not summaries: an hour does not keep its orders.
--
-- reads:   trades      from since
-- param:   top         BIGINT     rows, >= 1; default 20
-- param:   since       TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until       TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  rank        BIGINT     1 moved the furthest
-- column:  symbol      VARCHAR    as the exchange spells it
-- column:  traded_at   TIMESTAMP  UTC
-- column:  taker_side  VARCHAR    buy or sell
-- column:  prices      BIGINT     different prices of the order
-- column:  move        DOUBLE     percent, its last price over its first
-- column:  quote_qty   DOUBLE     quote asset
-- column:  first_id    BIGINT     id of its first row
-- column:  last_id     BIGINT     id of its last row
-- key:     rank
WITH
orders AS (
    SELECT
        symbol,
        traded_at,
        is_buyer_maker,
        min(id) AS first_id,
        max(id) AS last_id,
        arg_min(price, id) AS first_price,
        arg_max(price, id) AS last_price,
        sum(price * qty) AS quote_qty,
        count(DISTINCT price) AS prices,
    FROM trades
    WHERE traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY symbol, traded_at, is_buyer_maker
),
ranked AS (
    SELECT
        row_number() OVER (ORDER BY abs(last_price / nullif(first_price, 0) - 1) DESC, symbol, first_id) AS rank,
        symbol,
        traded_at,
        CASE WHEN is_buyer_maker THEN 'sell' ELSE 'buy' END AS taker_side,
        prices,
        (last_price / nullif(first_price, 0) - 1) * 100 AS move,
        quote_qty,
        first_id,
        last_id,
    FROM orders
    WHERE prices > 1
)
SELECT
    rank,
    symbol,
    traded_at,
    taker_side,
    prices,
    move,
    quote_qty,
    first_id,
    last_id,
FROM ranked
WHERE rank <= coalesce(getvariable('top')::BIGINT, 20)
ORDER BY rank
