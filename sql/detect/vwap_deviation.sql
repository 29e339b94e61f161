-- vwap_deviation lists the one-minute buckets by whose end the price had run far away from what the last hour was traded at.
--
-- The deviation is last price / VWAP - 1, VWAP being quote volume over volume of the last 60 minutes. It must be min_deviation, up or down,
-- and min_rms times the root mean square of the same deviation at the end of each five minutes of the clock in which something traded, over
-- the 24 hours before the full hour in which the 60 minutes begin, at least rms_floor.
-- Needs min_minutes recorded minutes in those 24 hours and an unbroken record of what is judged; otherwise it is not judged. A minute in
-- which ids are missing, and the one in which a symbol's record begins, do not count as recorded. Of those five minutes at least
-- min_buckets must have traded.
-- Fails on: a slow trend, which the mean follows; it says much the same as price_jump, some minutes later.
-- Measured on thin alt/BTC pairs of 2018 to 2021, with the deviation of each minute: 0.05 alarms a symbol and day. Medium and high are the
-- scores of one symbol-day in 50 and in 100.
--
-- reads:    minutes        from 1614 minutes before window_start
-- param:    window_start   TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end     TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_deviation  DOUBLE     price over VWAP less 1, up or down; default 0.03
-- param:    min_rms        DOUBLE     usual deviations; default 10
-- param:    rms_floor      DOUBLE     price over VWAP less 1, > 0; default 0.001
-- param:    min_orders     BIGINT     taker orders in the 60 minutes; default 60
-- param:    min_buckets    BIGINT     five minutes with trades in the 24 hours before; default 24
-- param:    min_minutes    BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_rms     DOUBLE     usual deviations, from here on severity is medium; default 12
-- param:    high_rms       DOUBLE     usual deviations, from here on severity is high; default 14
-- column:   symbol         VARCHAR    as the exchange spells it
-- column:   at             TIMESTAMP  UTC, end of the minute: from then on it could be known
-- column:   score          DOUBLE     the deviation in usual deviations, up or down
-- column:   severity       VARCHAR    low, medium or high
-- column:   message        VARCHAR    one sentence
-- column:   first_id       BIGINT     first trade of the 60 minutes
-- column:   last_id        BIGINT     last trade of the 60 minutes
-- column:   deviation      DOUBLE     last price over VWAP, less 1
-- column:   vwap           DOUBLE     quote asset per base asset, of the 60 minutes
-- column:   close          DOUBLE     quote asset per base asset, the last price
-- key:      symbol, at
-- threshold: min_rms
-- cooldown: 30 minutes
WITH spans AS (
    SELECT
        symbol,
        minute,
        close,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 59 MINUTES) AS hour,
        bool_and(is_recorded) OVER span AS is_recorded,
        sum(quote_volume) OVER span / nullif(sum(volume) OVER span, 0) AS vwap,
        sum(buy_orders + sell_orders) OVER span AS orders,
        min(first_id) OVER span AS first_id,
        max(last_id) OVER span AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 59 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW span AS (PARTITION BY symbol ORDER BY minute RANGE BETWEEN INTERVAL 59 MINUTES PRECEDING AND CURRENT ROW)
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        recorded_from,
        hour,
        vwap,
        close / vwap - 1 AS deviation,
        first_id,
        last_id,
    FROM spans
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
        AND abs(close / vwap - 1) >= $min_deviation::DOUBLE
),

buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 5 MINUTES, minute) AS bucket,
        bool_and(is_recorded) AS is_recorded,
        arg_max(close, minute) AS close,
        sum(quote_volume) AS quote_volume,
        sum(volume) AS volume,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1614 MINUTES
        AND minute < $window_end::TIMESTAMP
        AND symbol IN (SELECT symbol FROM judged_minutes)
    GROUP BY
        symbol,
        bucket,
),

deviated_buckets AS (
    SELECT
        symbol,
        bucket,
        is_recorded,
        CASE
            WHEN bool_and(is_recorded) OVER hour_before
                THEN close / nullif(sum(quote_volume) OVER hour_before / nullif(sum(volume) OVER hour_before, 0), 0) - 1
        END AS deviation,
    FROM buckets
    WINDOW
        hour_before AS (PARTITION BY symbol ORDER BY bucket RANGE BETWEEN INTERVAL 55 MINUTES PRECEDING AND CURRENT ROW)
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
        count(deviation) AS traded_buckets,
        sum(deviation * deviation) AS square_sum,
    FROM hours
    LEFT JOIN deviated_buckets
        ON
            hours.symbol = deviated_buckets.symbol
            AND bucket >= hours.hour - INTERVAL 24 HOURS
            AND bucket < hours.hour
    GROUP BY
        hours.symbol,
        hours.hour,
        hours.recorded_from,
    HAVING
        recorded_buckets >= $min_minutes::BIGINT / 5
        AND traded_buckets >= greatest($min_buckets::BIGINT, 1)
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        vwap,
        deviation,
        abs(deviation) / greatest(sqrt(square_sum / traded_buckets), $rms_floor::DOUBLE) AS score,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN baselines USING (symbol, hour)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(score, 2) AS score,
    CASE
        WHEN score >= $high_rms::DOUBLE THEN 'high'
        WHEN score >= $medium_rms::DOUBLE THEN 'medium'
        ELSE 'low'
    END AS severity,
    format(
        '{:+.1f} % from the mean price of the last hour ({:.0f} times as far as usual), at {}',
        100 * deviation,
        score,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    round(deviation, 6) AS deviation,
    format('{:.10g}', vwap)::DOUBLE AS vwap,
    close,
FROM scored_minutes
WHERE score >= $min_rms::DOUBLE
ORDER BY
    symbol,
    minute
