-- vwap_deviation lists each minute at whose end the price is far from the mean price of the last
-- hour.
--
-- The deviation is last price / VWAP - 1. The VWAP is quote volume over volume of the last 60
-- minutes. The deviation must be min_deviation, up or down, and min_rms times the root mean square
-- of the same deviation at the end of the five-minute buckets of the clock that traded in the 24
-- hours before the full hour in which the 60 minutes begin. That root mean square is at least
-- rms_floor.
--
-- Needs min_minutes recorded minutes in those 24 hours, and no missing ids in the 60 minutes;
-- otherwise the minute is not judged. A minute with missing ids, and the one in which the record of
-- a symbol begins, do not count as recorded. If fewer than min_buckets five-minute buckets traded in
-- those 24 hours, nothing is raised: too little is known of the usual deviation.
--
-- Limits: it misses slow trends because the mean follows them. It finds much the same as
-- price_jump, some minutes later. On thin alt/BTC pairs from 2018 to 2021, with the deviation of
-- each minute: 0.05 alerts per symbol and day. One symbol-day in 50 reaches medium severity, one in
-- 100 high.
--
-- reads:    minutes        from 1614 minutes before window_start
-- param:    window_start   TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end     TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_deviation  DOUBLE     price over VWAP less 1, up or down; default 0.03
-- param:    min_rms        DOUBLE     usual deviations; default 10
-- param:    rms_floor      DOUBLE     price over VWAP less 1, > 0; default 0.001
-- param:    min_orders     BIGINT     taker orders in the 60 minutes; default 60
-- param:    min_buckets    BIGINT     five-minute buckets that traded in the 24 hours; default 24
-- param:    min_minutes    BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_rms     DOUBLE     usual deviations for medium severity; default 12
-- param:    high_rms       DOUBLE     usual deviations for high severity; default 14
-- column:   symbol         VARCHAR    as the exchange spells it
-- column:   at             TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score          DOUBLE     the deviation in usual deviations, up or down
-- column:   severity       VARCHAR    low, medium or high
-- column:   message        VARCHAR    one sentence
-- column:   first_id       BIGINT     first trade of the 60 minutes
-- column:   last_id        BIGINT     last trade of the 60 minutes
-- column:   deviation      DOUBLE     last price over VWAP, less 1
-- column:   vwap           DOUBLE     quote asset per base asset, of the 60 minutes
-- column:   close          DOUBLE     quote asset per base asset, the last price
-- key:      symbol, at
-- needs:    whole    60 minutes
-- needs:    history  min_minutes of 24 hours before the full hour, by 5 minutes
-- threshold: min_rms
-- cooldown: 30 minutes
WITH trailing_sums AS (
    SELECT
        symbol,
        minute,
        close,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 59 MINUTES) AS hour,
        bool_and(is_recorded) OVER sixty_minutes AS is_recorded,
        sum(quote_volume) OVER sixty_minutes / nullif(sum(volume) OVER sixty_minutes, 0) AS vwap,
        sum(buy_orders + sell_orders) OVER sixty_minutes AS orders,
        min(first_id) OVER sixty_minutes AS first_id,
        max(last_id) OVER sixty_minutes AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 59 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW
        sixty_minutes AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 59 MINUTES PRECEDING AND CURRENT ROW
        )
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
    FROM trailing_sums
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
        AND abs(close / vwap - 1) >= $min_deviation::DOUBLE
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
    FROM clock_buckets(
        source := 'judged_minutes',
        bucket_minutes := 5,
        since := $window_start::TIMESTAMP - INTERVAL 1614 MINUTES,
        until := $window_end::TIMESTAMP
    )
    WINDOW
        hour_before AS (
            PARTITION BY symbol
            ORDER BY bucket
            RANGE BETWEEN INTERVAL 55 MINUTES PRECEDING AND CURRENT ROW
        )
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
    severity_of(score, $medium_rms::DOUBLE, $high_rms::DOUBLE) AS severity,
    format(
        '{:+.1f} % from the mean price of the last hour ({:.0f} times the usual distance), at {}',
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
