-- pump_burst lists the one-minute buckets in which rush buys (taker buys that swept two or more prices at once) stand far above
-- those of the day before while the price rises: the start of a pump.
--
-- A rush buy is one taker's order that bought at two or more different prices: all buys of a symbol in one millisecond. That counts
-- the same in both feeds. z is (rush buys - mean) / sd over the recorded minutes of the 24 hours before the bucket, a minute
-- without trades being 0, and sd at least sd_floor. Two rules, either is enough: many rush buys and a rise (the main rule), or
-- fewer with a strong rise (for thin symbols; its severity is always low).
--
-- Needs min_minutes recorded minutes before the bucket, and an unbroken record from the trade before the bucket, at most
-- 24 hours old, to its end; otherwise the bucket is not judged. A minute in which ids are missing, and the one in which a
-- symbol's record begins, do not count as recorded.
-- Fails on: very thin pumps with few participants; a day after a pump it is less sensitive, for sd has grown.
-- Rule after La Morgia et al. 2020 (rush orders); numbers measured on pumps of alt/BTC pairs of 2018 to 2021: precision 0.95,
-- recall 0.85, 0.03 alarms a symbol and day without a known pump. Medium and high are the scores of one symbol-day in 50 and in 100.
--
-- reads:    trades           from 24 hours before window_start
-- reads:    gaps             whole
-- reads:    bounds           whole
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_rush_buys    BIGINT     rush buys a minute, main rule; default 12
-- param:    min_z            DOUBLE     standard deviations, main rule; default 25
-- param:    min_rise         DOUBLE     highest price over the last price before the bucket, less 1, main rule; default 0.01
-- param:    thin_rush_buys   BIGINT     rush buys a minute, second rule; default 6
-- param:    thin_z           DOUBLE     standard deviations, second rule; default 15
-- param:    thin_rise        DOUBLE     as min_rise, second rule; default 0.10
-- param:    sd_floor         DOUBLE     rush buys a minute, > 0; default 0.3
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_z         DOUBLE     standard deviations, from here on severity is medium; default 47
-- param:    high_z           DOUBLE     standard deviations, from here on severity is high; default 59
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the bucket: from then on it could be known
-- column:   score            DOUBLE     z, standard deviations
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the bucket
-- column:   last_id          BIGINT     last trade of the bucket
-- column:   rush_buys        BIGINT     rush buys in the bucket
-- column:   mean_rush_buys   DOUBLE     rush buys a minute in the 24 hours before
-- column:   rise             DOUBLE     highest price of the bucket over the last price before it, less 1
-- column:   close            DOUBLE     last price of the bucket, quote asset per base asset
-- key:      symbol, at
-- cooldown: 30 minutes
WITH buy_orders AS (
    SELECT
        symbol,
        date_trunc('millisecond', traded_at) AS ordered_at,
        min(price) < max(price) AS is_rush,
    FROM trades
    WHERE
        NOT is_buyer_maker
        AND traded_at >= $window_start::TIMESTAMP - INTERVAL 24 HOURS
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY
        symbol,
        ordered_at,
),

rush_minutes AS (
    SELECT
        symbol,
        date_trunc('minute', ordered_at) AS minute,
        count(*) AS rush_buys,
    FROM buy_orders
    WHERE is_rush
    GROUP BY
        symbol,
        minute,
),

traded_minutes AS (
    SELECT
        symbol,
        date_trunc('minute', traded_at) AS minute,
        max(price) AS high,
        arg_max(price, id) AS close,
        min(id) AS first_id,
        max(id) AS last_id,
    FROM trades
    WHERE
        traded_at >= $window_start::TIMESTAMP - INTERVAL 24 HOURS
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY
        symbol,
        minute,
),

unrecorded_minutes AS (
    SELECT DISTINCT
        symbol,
        unnest(
            generate_series(
                greatest(date_trunc('minute', after_at), $window_start::TIMESTAMP - INTERVAL 24 HOURS),
                least(date_trunc('minute', before_at), $window_end::TIMESTAMP),
                INTERVAL 1 MINUTE
            )
        ) AS minute,
        true AS is_unrecorded,
    FROM gaps
    WHERE
        before_at >= $window_start::TIMESTAMP - INTERVAL 24 HOURS
        AND after_at < $window_end::TIMESTAMP
),

minutes AS (
    SELECT
        symbol,
        minute,
        high,
        close,
        first_id,
        last_id,
        coalesce(is_unrecorded, false) OR minute <= date_trunc('minute', bounds.first_at) AS is_unrecorded,
        coalesce(rush_buys, 0) AS rush_buys,
        date_trunc('minute', bounds.first_at) + INTERVAL 1 MINUTE AS recorded_from,
    FROM traded_minutes
    FULL JOIN unrecorded_minutes USING (symbol, minute)
    LEFT JOIN rush_minutes USING (symbol, minute)
    JOIN (SELECT symbol, first_at FROM bounds) AS bounds USING (symbol)
),

compared_minutes AS (
    SELECT
        symbol,
        minute,
        high,
        close,
        first_id,
        last_id,
        rush_buys,
        is_unrecorded,
        lag(close) OVER by_time AS close_before,
        lag(minute) OVER by_time AS minute_before,
        lag(is_unrecorded) OVER by_time AS is_unrecorded_before,
        date_diff('minute', greatest(minute - INTERVAL 24 HOURS, recorded_from), minute)
        - count(*) FILTER (is_unrecorded AND minute >= recorded_from) OVER day_before AS recorded_minutes,
        coalesce(sum(rush_buys) FILTER (NOT is_unrecorded) OVER day_before, 0) AS rush_sum,
        coalesce(sum(rush_buys * rush_buys) FILTER (NOT is_unrecorded) OVER day_before, 0) AS rush_square_sum,
    FROM minutes
    WINDOW
        by_time AS (PARTITION BY symbol ORDER BY minute),
        day_before AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 24 HOURS PRECEDING AND INTERVAL 1 MINUTE PRECEDING
        )
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        first_id,
        last_id,
        rush_buys,
        high / nullif(close_before, 0) - 1 AS rise,
        rush_sum / recorded_minutes AS mean_rush_buys,
        sqrt(greatest(rush_square_sum / recorded_minutes - (rush_sum / recorded_minutes) ** 2, 0)) AS sd_rush_buys,
    FROM compared_minutes
    WHERE
        minute >= $window_start::TIMESTAMP
        AND minute + INTERVAL 1 MINUTE <= $window_end::TIMESTAMP
        AND NOT is_unrecorded
        AND NOT is_unrecorded_before
        AND minute_before >= minute - INTERVAL 24 HOURS
        AND recorded_minutes >= greatest($min_minutes::BIGINT, 1)
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        first_id,
        last_id,
        rush_buys,
        rise,
        mean_rush_buys,
        (rush_buys - mean_rush_buys) / greatest(sd_rush_buys, $sd_floor::DOUBLE) AS z,
        rush_buys >= $min_rush_buys::BIGINT AND z >= $min_z::DOUBLE AND rise >= $min_rise::DOUBLE AS is_main,
        rush_buys >= $thin_rush_buys::BIGINT AND z >= $thin_z::DOUBLE AND rise >= $thin_rise::DOUBLE AS is_thin,
    FROM judged_minutes
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(z, 2) AS score,
    CASE
        WHEN NOT is_main THEN 'low'
        WHEN z >= $high_z::DOUBLE THEN 'high'
        WHEN z >= $medium_z::DOUBLE THEN 'medium'
        ELSE 'low'
    END AS severity,
    format(
        'rush buys {} a minute (z {:.0f}), {:+.1f} % in the minute to {}',
        rush_buys,
        z,
        100 * rise,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    rush_buys,
    round(mean_rush_buys, 4) AS mean_rush_buys,
    round(rise, 6) AS rise,
    close,
FROM scored_minutes
WHERE
    is_main
    OR is_thin
ORDER BY
    symbol,
    minute
