-- minutes adds what is missing to what traded. A minute is not recorded if it lies between the
-- trade before a gap in the ids and the trade after it, both minutes included, or if the record of
-- a symbol begins in it.
WITH unrecorded_minutes AS (
    SELECT DISTINCT
        symbol,
        unnest(
            generate_series(date_trunc('minute', after_at), date_trunc('minute', before_at), INTERVAL 1 MINUTE)
        ) AS minute,
    FROM gaps
),

starts AS (
    SELECT
        symbol,
        date_trunc('minute', first_at) AS first_minute,
    FROM bounds
)

SELECT
    symbol,
    minute,
    unrecorded_minutes.symbol IS NULL AND minute > first_minute AS is_recorded,
    first_minute + INTERVAL 1 MINUTE AS recorded_from,
    coalesce(trades, 0) AS trades,
    open,
    high,
    low,
    close,
    volume,
    quote_volume,
    buy_quote_volume,
    buy_orders,
    sell_orders,
    rush_buys,
    rush_sells,
    largest_order,
    first_id,
    last_id,
    first_at,
    last_at,
FROM traded_minutes
FULL JOIN unrecorded_minutes USING (symbol, minute)
JOIN starts USING (symbol)
