-- price_jump lists the one-minute buckets by whose end the price had moved far within five minutes, up or down.
--
-- The move is ln(last price / last price before the five minutes, at most 6 hours old). It must be min_move and min_rms times the root mean
-- square of the moves over the 288 five minutes of the clock in the 24 hours before the full hour in which the five minutes begin, five
-- minutes without trades being 0, at least rms_floor. The tails of such moves are heavy: 3 deviations happen all day.
-- Needs min_minutes recorded minutes in those 24 hours and an unbroken record of what is judged; otherwise it is not judged. A minute in
-- which ids are missing, and the one in which a symbol's record begins, do not count as recorded. The record must be unbroken back to the
-- price compared with.
-- Fails on: penny prices, where one tick is some percent; the jump from bid to ask on thin pairs.
-- Measured on thin alt/BTC pairs of 2018 to 2021, with a sliding baseline: 0.06 alarms a symbol and day. Medium and high are the scores of
-- one symbol-day in 50 and in 100.
--
-- reads:    minutes       from 1863 minutes before window_start
-- param:    window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_move      DOUBLE     ln of the ratio of prices, up or down; default 0.03
-- param:    min_rms       DOUBLE     usual five-minute moves; default 15
-- param:    rms_floor     DOUBLE     ln of the ratio of prices, > 0; default 0.001
-- param:    min_orders    BIGINT     taker orders in the five minutes; default 10
-- param:    min_minutes   BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_rms    DOUBLE     usual five-minute moves, from here on severity is medium; default 21
-- param:    high_rms      DOUBLE     usual five-minute moves, from here on severity is high; default 26
-- column:   symbol        VARCHAR    as the exchange spells it
-- column:   at            TIMESTAMP  UTC, end of the five minutes: from then on it could be known
-- column:   score         DOUBLE     the move in usual five-minute moves, up or down
-- column:   severity      VARCHAR    low, medium or high
-- column:   message       VARCHAR    one sentence
-- column:   first_id      BIGINT     first trade of the five minutes
-- column:   last_id       BIGINT     last trade of the five minutes
-- column:   move          DOUBLE     last price over the one before the five minutes, less 1
-- column:   reference     DOUBLE     quote asset per base asset, the price before the five minutes
-- column:   close         DOUBLE     quote asset per base asset, the last price
-- key:      symbol, at
-- threshold: min_rms
-- cooldown: 30 minutes
WITH spans AS (
    SELECT
        symbol,
        minute,
        close,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 4 MINUTES) AS hour,
        sum(buy_orders + sell_orders) OVER span AS orders,
        min(first_id) OVER span AS first_id,
        max(last_id) OVER span AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW span AS (PARTITION BY symbol ORDER BY minute RANGE BETWEEN INTERVAL 4 MINUTES PRECEDING AND CURRENT ROW)
),

recent_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        is_recorded,
    FROM minutes
    WHERE minute >= $window_start::TIMESTAMP - INTERVAL 364 MINUTES
),

judged_minutes AS (
    SELECT
        spans.symbol,
        spans.minute,
        spans.close,
        recorded_from,
        hour,
        priced.close AS reference,
        first_id,
        last_id,
        ln(spans.close / nullif(reference, 0)) AS move,
    FROM spans
    ASOF JOIN (FROM recent_minutes WHERE close IS NOT NULL) AS priced
        ON
            spans.symbol = priced.symbol
            AND spans.minute - INTERVAL 5 MINUTES >= priced.minute
    ASOF LEFT JOIN (FROM recent_minutes WHERE NOT is_recorded) AS unrecorded
        ON
            spans.symbol = unrecorded.symbol
            AND spans.minute >= unrecorded.minute
    WHERE
        spans.minute >= $window_start::TIMESTAMP
        AND spans.close IS NOT NULL
        AND priced.minute >= spans.minute - INTERVAL 364 MINUTES
        AND priced.minute > coalesce(unrecorded.minute, TIMESTAMP '1970-01-01')
        AND orders >= $min_orders::BIGINT
        AND abs(move) >= $min_move::DOUBLE
),

buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 5 MINUTES, minute) AS bucket,
        bool_and(is_recorded) AS is_recorded,
        arg_max(close, minute) AS close,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1863 MINUTES
        AND symbol IN (SELECT symbol FROM judged_minutes)
    GROUP BY
        symbol,
        bucket,
),

-- A price from before a hole in the record says nothing about the move after it.
moved_buckets AS (
    SELECT
        symbol,
        bucket,
        is_recorded,
        CASE
            WHEN lag(is_recorded) OVER by_time AND lag(bucket) OVER by_time >= bucket - INTERVAL 6 HOURS
                THEN ln(close / nullif(lag(close) OVER by_time, 0))
        END AS move,
    FROM buckets
    WINDOW by_time AS (PARTITION BY symbol ORDER BY bucket)
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
        coalesce(sum(move * move) FILTER (is_recorded), 0) AS square_sum,
    FROM hours
    LEFT JOIN moved_buckets
        ON
            hours.symbol = moved_buckets.symbol
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
        close,
        reference,
        move,
        abs(move) / greatest(sqrt(square_sum / recorded_buckets), $rms_floor::DOUBLE) AS score,
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
        '{:+.1f} % in five minutes ({:.0f} times its usual move), to {}',
        100 * (close / reference - 1),
        score,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    round(close / reference - 1, 6) AS move,
    reference,
    close,
FROM scored_minutes
WHERE score >= $min_rms::DOUBLE
ORDER BY
    symbol,
    minute
