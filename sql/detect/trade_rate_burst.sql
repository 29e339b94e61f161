-- trade_rate_burst lists each minute at whose end takers had sent far more orders in five minutes
-- than usual.
--
-- z is (orders in five minutes - mean) / standard deviation, over the 288 five-minute buckets of
-- the clock in the 24 hours before the full hour in which those five minutes begin. A bucket
-- without trades counts as 0, and the deviation is at least sd_floor. An order is all trades of a
-- symbol in one millisecond with the taker on the same side.
--
-- Needs min_minutes recorded minutes in those 24 hours and no missing ids in the five minutes;
-- otherwise the minute is not judged. A minute with missing ids, and the one in which the record of
-- a symbol begins, do not count as recorded.
--
-- Limits: a market maker's program that restarts and batches of the exchange itself look the same:
-- many small orders without a meaning. The second feature of La Morgia et al. 2020. On thin alt/BTC
-- pairs from 2018 to 2021, with a sliding baseline: 0.07 alerts per symbol and day. One symbol-day
-- in 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes       from 1503 minutes before window_start
-- param:    window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_orders    BIGINT     taker orders in five minutes; default 30
-- param:    min_z         DOUBLE     standard deviations; default 40
-- param:    sd_floor      DOUBLE     taker orders in five minutes, > 0; default 1
-- param:    min_minutes   BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_z      DOUBLE     standard deviations for medium severity; default 74
-- param:    high_z        DOUBLE     standard deviations for high severity; default 101
-- column:   symbol        VARCHAR    as the exchange spells it
-- column:   at            TIMESTAMP  UTC, end of the five minutes: known from then on
-- column:   score         DOUBLE     z, standard deviations
-- column:   severity      VARCHAR    low, medium or high
-- column:   message       VARCHAR    one sentence
-- column:   first_id      BIGINT     first trade of the five minutes
-- column:   last_id       BIGINT     last trade of the five minutes
-- column:   orders        BIGINT     taker orders in the five minutes
-- column:   mean_orders   DOUBLE     taker orders in five minutes, mean of the 24 hours before
-- column:   buy_share     DOUBLE     share of the orders that bought, 0 to 1
-- key:      symbol, at
-- needs:    whole    5 minutes
-- needs:    history  min_minutes of 24 hours before the full hour, by 5 minutes
-- threshold: min_z
-- cooldown: 30 minutes
WITH trailing_sums AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 4 MINUTES) AS hour,
        bool_and(is_recorded) OVER five_minutes AS is_recorded,
        sum(buy_orders + sell_orders) OVER five_minutes AS orders,
        sum(buy_orders) OVER five_minutes AS buys,
        min(first_id) OVER five_minutes AS first_id,
        max(last_id) OVER five_minutes AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW
        five_minutes AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 4 MINUTES PRECEDING AND CURRENT ROW
        )
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        hour,
        orders,
        buys,
        first_id,
        last_id,
    FROM trailing_sums
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        orders,
        buys / orders AS buy_share,
        mean_orders,
        (orders - mean_orders) / greatest(sd_orders, $sd_floor::DOUBLE) AS z,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN bucket_baselines(
        judged := 'judged_minutes',
        bucket_minutes := 5,
        since := $window_start::TIMESTAMP - INTERVAL 1503 MINUTES,
        until := $window_end::TIMESTAMP
    ) USING (symbol, hour)
    WHERE recorded_buckets >= greatest($min_minutes::BIGINT / 5, 1)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(z, 2) AS score,
    severity_of(z, $medium_z::DOUBLE, $high_z::DOUBLE) AS severity,
    format(
        '{} taker orders in five minutes, usually {:.1f} (z {:.0f}), until {}',
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
