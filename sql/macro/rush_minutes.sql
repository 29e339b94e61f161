-- rush_minutes(takers_sold, window_start, window_end, min_orders, min_z, sd_floor, min_minutes)
-- lists 60-second intervals, one ending every 15 seconds, in which a symbol may have had at least
-- min_orders rush orders, min_z standard deviations above its mean. It returns a superset: the
-- caller compares rush_orders and z exactly. A rush order is a taker order that traded at two or
-- more prices: all sells (takers_sold) or all buys of a symbol in one millisecond.
--
-- Mean and standard deviation, at least sd_floor, are those of rush orders per minute in the
-- recorded minutes of a 24-hour baseline; a minute without trades counts as 0. The baseline ends
-- one clock minute before the clock minute in which the interval ends, so the interval has no part
-- in it. An interval is judged only if the baseline has min_minutes recorded minutes and a price,
-- and if no ids are missing from that price to the end of the clock minute. price_before is the
-- last price before the interval.
CREATE MACRO rush_minutes(takers_sold, window_start, window_end, min_orders, min_z, sd_floor, min_minutes) AS TABLE
WITH
-- An interval spans two clock minutes, so it can have enough rush orders only if both together
-- have. Symbols without any are left out here because the next steps read a whole day.
paired_minutes AS (
    SELECT
        symbol,
        minute,
        sum(CASE WHEN takers_sold THEN rush_sells ELSE rush_buys END) OVER (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND CURRENT ROW
        ) AS orders_of_two,
    FROM minutes
    WHERE
        minute >= window_start - INTERVAL 1 MINUTE
        AND minute < window_end
),

busy_minutes AS (
    SELECT
        symbol,
        minute,
        orders_of_two,
    FROM paired_minutes
    WHERE
        minute >= window_start
        AND orders_of_two >= min_orders
),

compared_minutes AS (
    SELECT
        symbol,
        minute,
        is_recorded,
        CASE WHEN takers_sold THEN rush_sells ELSE rush_buys END AS rush_orders,
        last_value(close IGNORE NULLS) OVER day_before AS reference,
        max(minute) FILTER (close IS NOT NULL) OVER day_before AS reference_minute,
        max(minute) FILTER (NOT is_recorded) OVER up_to_here AS last_unrecorded,
        date_diff('minute', greatest(minute - INTERVAL 1441 MINUTES, recorded_from), minute - INTERVAL 1 MINUTE)
        - count(*) FILTER (NOT is_recorded AND minute >= recorded_from) OVER day_before AS recorded_minutes,
        coalesce(sum(rush_orders) FILTER (is_recorded) OVER day_before, 0) AS order_sum,
        coalesce(sum(rush_orders * rush_orders) FILTER (is_recorded) OVER day_before, 0) AS order_square_sum,
    FROM minutes
    WHERE
        minute >= window_start - INTERVAL 1441 MINUTES
        AND symbol IN (SELECT symbol FROM busy_minutes)
    WINDOW
        up_to_here AS (PARTITION BY symbol ORDER BY minute),
        day_before AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 1441 MINUTES PRECEDING AND INTERVAL 2 MINUTES PRECEDING
        )
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        reference,
        orders_of_two,
        order_sum / recorded_minutes AS mean_orders,
        greatest(sqrt(greatest(order_square_sum / recorded_minutes - mean_orders ** 2, 0)), sd_floor) AS sd_orders,
    FROM compared_minutes
    JOIN busy_minutes USING (symbol, minute)
    WHERE
        is_recorded
        AND reference_minute > coalesce(last_unrecorded, TIMESTAMP '1970-01-01')
        AND recorded_minutes >= greatest(min_minutes, 1)
),

likely_minutes AS (
    SELECT
        symbol,
        minute,
        reference,
        mean_orders,
        sd_orders,
    FROM judged_minutes
    WHERE orders_of_two - mean_orders >= min_z * sd_orders
),

orders AS (
    SELECT
        trades.symbol,
        minute,
        date_trunc('millisecond', traded_at) AS ordered_at,
        is_buyer_maker = takers_sold AND min(price) < max(price) AS is_rush,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, id) AS close,
        min(id) AS first_id,
        max(id) AS last_id,
    FROM trades
    JOIN likely_minutes
        ON
            trades.symbol = likely_minutes.symbol
            AND date_trunc('minute', traded_at) IN (minute - INTERVAL 1 MINUTE, minute)
    WHERE traded_at >= window_start - INTERVAL 1 MINUTE
    GROUP BY
        trades.symbol,
        minute,
        ordered_at,
        is_buyer_maker,
),

ends AS (
    SELECT
        symbol,
        minute,
        reference,
        mean_orders,
        sd_orders,
        unnest(generate_series(minute + INTERVAL 15 SECONDS, minute + INTERVAL 1 MINUTE, INTERVAL 15 SECONDS)) AS ended_at,
    FROM likely_minutes
),

ended_orders AS (
    SELECT
        symbol,
        ended_at,
        ends.reference,
        mean_orders,
        sd_orders,
        ordered_at >= ended_at - INTERVAL 1 MINUTE AS is_inside,
        is_rush,
        high,
        low,
        close,
        first_id,
        last_id,
    FROM ends
    JOIN orders USING (symbol, minute)
    WHERE ordered_at < ended_at
)

SELECT
    symbol,
    ended_at,
    count(*) FILTER (is_rush AND is_inside) AS rush_orders,
    any_value(mean_orders) AS mean_rush_orders,
    (rush_orders - mean_rush_orders) / any_value(sd_orders) AS z,
    coalesce(arg_max(close, last_id) FILTER (NOT is_inside), any_value(reference)) AS price_before,
    max(high) FILTER (is_inside) AS high,
    min(low) FILTER (is_inside) AS low,
    arg_max(close, last_id) AS close,
    min(first_id) FILTER (is_inside) AS first_id,
    max(last_id) FILTER (is_inside) AS last_id,
FROM ended_orders
GROUP BY
    symbol,
    ended_at;
