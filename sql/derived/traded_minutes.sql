-- traded_minutes is what traded in each minute: one row per (symbol, minute). Quote quantities are
-- summed as decimals, so a sum does not depend on the order of the rows. Impossible rows (see
-- check/damaged_row.sql) are left out.
WITH orders AS (
    SELECT
        symbol,
        date_trunc('millisecond', traded_at) AS ordered_at,
        is_buyer_maker,
        sum(last_trade_id - first_trade_id + 1) AS raw_trades,
        arg_min(price, id) AS open,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, id) AS close,
        sum(try_cast(qty AS DECIMAL(38, 8))) AS volume,
        sum(try_cast(price * qty AS DECIMAL(38, 10))) AS quote_qty,
        min(id) AS first_id,
        max(id) AS last_id,
        min(traded_at) AS first_at,
        max(traded_at) AS last_at,
    FROM trades
    WHERE
        isfinite(price)
        AND isfinite(qty)
        AND price > 0
        AND qty > 0
    GROUP BY
        symbol,
        ordered_at,
        is_buyer_maker,
)

SELECT
    symbol,
    date_trunc('minute', ordered_at) AS minute,
    sum(raw_trades)::BIGINT AS trades,
    arg_min(open, first_id) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, last_id) AS close,
    sum(volume)::DOUBLE AS volume,
    sum(quote_qty)::DOUBLE AS quote_volume,
    coalesce(sum(quote_qty) FILTER (NOT is_buyer_maker), 0)::DOUBLE AS buy_quote_volume,
    count(*) FILTER (NOT is_buyer_maker) AS buy_orders,
    count(*) FILTER (is_buyer_maker) AS sell_orders,
    count(*) FILTER (NOT is_buyer_maker AND low < high) AS rush_buys,
    count(*) FILTER (is_buyer_maker AND low < high) AS rush_sells,
    max(quote_qty)::DOUBLE AS largest_order,
    min(first_id) AS first_id,
    max(last_id) AS last_id,
    min(first_at) AS first_at,
    max(last_at) AS last_at,
FROM orders
GROUP BY
    symbol,
    minute
