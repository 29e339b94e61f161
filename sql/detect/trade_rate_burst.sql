-- trade_rate_burst lists the one-minute buckets by whose end takers had sent far more orders in five minutes than usual.
--
-- z is (orders of five minutes - mean) / sd over the 288 five minutes of the clock in the 24 hours before the full hour in which those five
-- minutes begin, five minutes without trades being 0, and sd at least sd_floor. An order is all trades of a symbol in one millisecond in
-- which the taker was on the same side.
-- Needs min_minutes recorded minutes in those 24 hours and an unbroken record of what is judged; otherwise it is not judged. A minute in
-- which ids are missing, and the one in which a symbol's record begins, do not count as recorded.
-- Fails on: a market maker's machine that starts again, and the exchange's own batches: many small orders that mean nothing.
-- Second feature of La Morgia et al. 2020. Measured on thin alt/BTC pairs of 2018 to 2021, with a sliding baseline: 0.07 alarms a symbol
-- and day. Medium and high are the scores of one symbol-day in 50 and in 100.
--
-- reads:    minutes       from 1503 minutes before window_start
-- param:    window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_orders    BIGINT     taker orders in five minutes; default 30
-- param:    min_z         DOUBLE     standard deviations; default 40
-- param:    sd_floor      DOUBLE     taker orders in five minutes, > 0; default 1
-- param:    min_minutes   BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_z      DOUBLE     standard deviations, from here on severity is medium; default 74
-- param:    high_z        DOUBLE     standard deviations, from here on severity is high; default 101
-- column:   symbol        VARCHAR    as the exchange spells it
-- column:   at            TIMESTAMP  UTC, end of the five minutes: from then on it could be known
-- column:   score         DOUBLE     z, standard deviations
-- column:   severity      VARCHAR    low, medium or high
-- column:   message       VARCHAR    one sentence
-- column:   first_id      BIGINT     first trade of the five minutes
-- column:   last_id       BIGINT     last trade of the five minutes
-- column:   orders        BIGINT     taker orders in the five minutes
-- column:   mean_orders   DOUBLE     taker orders in five minutes, mean of the 24 hours before
-- column:   buy_share     DOUBLE     share of the orders that bought, 0 to 1
-- key:      symbol, at
-- threshold: min_z
-- cooldown: 30 minutes
WITH spans AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 4 MINUTES) AS hour,
        bool_and(is_recorded) OVER span AS is_recorded,
        sum(buy_orders + sell_orders) OVER span AS orders,
        sum(buy_orders) OVER span AS buys,
        min(first_id) OVER span AS first_id,
        max(last_id) OVER span AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW span AS (PARTITION BY symbol ORDER BY minute RANGE BETWEEN INTERVAL 4 MINUTES PRECEDING AND CURRENT ROW)
),

judged_minutes AS (
    SELECT
        spans.*,
    FROM spans
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
),

buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 5 MINUTES, minute) AS bucket,
        bool_and(is_recorded) AS is_recorded,
        coalesce(sum(buy_orders + sell_orders), 0) AS orders,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1503 MINUTES
        AND minute < $window_end::TIMESTAMP
        AND symbol IN (SELECT symbol FROM judged_minutes)
    GROUP BY
        symbol,
        bucket,
),

hours AS (
    SELECT DISTINCT
        symbol,
        hour,
        recorded_from,
    FROM judged_minutes
),

baselines AS (
    SELECT
        hours.symbol,
        hours.hour,
        date_diff('minute', greatest(hours.hour - INTERVAL 24 HOURS, hours.recorded_from), hours.hour) // 5
        - count(*) FILTER (NOT is_recorded AND bucket >= hours.recorded_from) AS recorded_buckets,
        coalesce(sum(orders) FILTER (is_recorded), 0) AS order_sum,
        coalesce(sum(orders * orders) FILTER (is_recorded), 0) AS order_square_sum,
    FROM hours
    LEFT JOIN buckets
        ON
            hours.symbol = buckets.symbol
            AND bucket >= hours.hour - INTERVAL 24 HOURS
            AND bucket < hours.hour
    GROUP BY
        hours.symbol,
        hours.hour,
        hours.recorded_from,
    HAVING recorded_buckets >= greatest($min_minutes::BIGINT / 5, 1)
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        orders,
        buys / orders AS buy_share,
        order_sum / recorded_buckets AS mean_orders,
        (orders - mean_orders)
        / greatest(sqrt(greatest(order_square_sum / recorded_buckets - mean_orders ** 2, 0)), $sd_floor::DOUBLE) AS z,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN baselines USING (symbol, hour)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(z, 2) AS score,
    CASE
        WHEN z >= $high_z::DOUBLE THEN 'high'
        WHEN z >= $medium_z::DOUBLE THEN 'medium'
        ELSE 'low'
    END AS severity,
    format(
        '{} orders in five minutes where {:.1f} are usual (z {:.0f}), to {}',
        orders::BIGINT,
        mean_orders,
        z,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    orders::BIGINT AS orders,
    round(mean_orders, 4) AS mean_orders,
    round(buy_share, 4) AS buy_share,
FROM scored_minutes
WHERE z >= $min_z::DOUBLE
ORDER BY
    symbol,
    minute
