-- volatility_regime lists five-minute buckets of the clock at whose end the price had moved far
-- more widely for half an hour than on the day before.
--
-- A move is ln(last price of five minutes / last price before them, at most 6 hours old), 0 if
-- nothing traded. The root mean square of the last six moves must be min_rms, and min_ratio times
-- that of the moves in the 24 hours before the full hour in which the half hour begins. The latter
-- is at least rms_floor.
--
-- Needs min_minutes recorded minutes in those 24 hours and no missing ids back to the price before
-- the half hour; otherwise the bucket is not judged. A minute with missing ids, and the one in
-- which the record of a symbol begins, do not count as recorded.
--
-- Limits: it follows price_jump and flash_crash because one large move makes the half hour
-- volatile. On thin pairs the jump between bid and ask makes up most of the usual move. On thin
-- alt/BTC pairs from 2018 to 2021, with the moves of each minute: 0.06 alerts per symbol and day.
-- One symbol-day in 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes       from 1889 minutes before window_start
-- param:    window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_ratio     DOUBLE     half an hour over the day before, > 1; default 6
-- param:    min_rms       DOUBLE     root mean square of a five-minute move; default 0.01
-- param:    rms_floor     DOUBLE     root mean square of a five-minute move, > 0; default 0.001
-- param:    min_orders    BIGINT     taker orders in the half hour; default 30
-- param:    min_minutes   BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_ratio  DOUBLE     dimensionless, for medium severity; default 7.8
-- param:    high_ratio    DOUBLE     dimensionless, for high severity; default 9.1
-- column:   symbol        VARCHAR    as the exchange spells it
-- column:   at            TIMESTAMP  UTC, end of the half hour: known from then on
-- column:   score         DOUBLE     root mean square of the half hour over that of the day before
-- column:   severity      VARCHAR    low, medium or high
-- column:   message       VARCHAR    one sentence
-- column:   first_id      BIGINT     first trade of the half hour
-- column:   last_id       BIGINT     last trade of the half hour
-- column:   rms           DOUBLE     root mean square of a five-minute move in the half hour
-- column:   usual         DOUBLE     the same in the 24 hours before
-- column:   close         DOUBLE     quote asset per base asset, the last price
-- key:      symbol, at
-- needs:    whole    30 minutes, by 5 minutes
-- needs:    price    30 minutes before
-- needs:    history  min_minutes of 24 hours before the full hour, by 5 minutes
-- threshold: min_ratio
-- cooldown: 30 minutes
WITH recent_buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 5 MINUTES, minute) AS bucket,
        any_value(recorded_from) AS recorded_from,
        bool_and(is_recorded) AS is_recorded,
        arg_max(close, minute) AS close,
        coalesce(sum(buy_orders + sell_orders), 0) AS orders,
        min(first_id) AS first_id,
        max(last_id) AS last_id,
    FROM minutes
    WHERE minute >= $window_start::TIMESTAMP - INTERVAL 389 MINUTES
    GROUP BY
        symbol,
        bucket,
),

-- A price from before a gap says nothing about the move after it.
recent_moves AS (
    SELECT
        symbol,
        bucket,
        recorded_from,
        close,
        orders,
        first_id,
        last_id,
        is_recorded
        AND lag(is_recorded) OVER by_time
        AND lag(bucket) OVER by_time >= bucket - INTERVAL 6 HOURS AS is_compared,
        CASE WHEN is_compared THEN ln(close / nullif(lag(close) OVER by_time, 0)) END AS move,
    FROM recent_buckets
    WINDOW by_time AS (PARTITION BY symbol ORDER BY bucket)
),

trailing_moves AS (
    SELECT
        symbol,
        bucket,
        recorded_from,
        close,
        date_trunc('hour', bucket - INTERVAL 25 MINUTES) AS hour,
        bool_and(is_compared) OVER half_hour AS is_compared,
        sum(orders) OVER half_hour AS orders,
        sqrt(sum(move * move) OVER half_hour / 6) AS rms,
        min(first_id) OVER half_hour AS first_id,
        max(last_id) OVER half_hour AS last_id,
    FROM recent_moves
    WINDOW
        half_hour AS (
            PARTITION BY symbol
            ORDER BY bucket
            RANGE BETWEEN INTERVAL 25 MINUTES PRECEDING AND CURRENT ROW
        )
),

-- A bucket is judged when its last minute is in the window.
judged_buckets AS (
    SELECT
        symbol,
        bucket,
        recorded_from,
        close,
        hour,
        rms,
        first_id,
        last_id,
    FROM trailing_moves
    WHERE
        bucket + INTERVAL 4 MINUTES >= $window_start::TIMESTAMP
        AND bucket + INTERVAL 4 MINUTES < $window_end::TIMESTAMP
        AND is_compared
        AND orders >= $min_orders::BIGINT
        AND rms >= $min_rms::DOUBLE
),

scored_buckets AS (
    SELECT
        symbol,
        bucket,
        close,
        rms,
        greatest(rms_move, $rms_floor::DOUBLE) AS usual,
        rms / usual AS ratio,
        first_id,
        last_id,
    FROM judged_buckets
    JOIN move_baselines(
        judged := 'judged_buckets',
        since := $window_start::TIMESTAMP - INTERVAL 1889 MINUTES,
        until := $window_end::TIMESTAMP
    ) USING (symbol, hour)
    WHERE recorded_buckets >= greatest($min_minutes::BIGINT / 5, 1)
)

SELECT
    symbol,
    bucket + INTERVAL 5 MINUTES AS at,
    round(ratio, 2) AS score,
    severity_of(ratio, $medium_ratio::DOUBLE, $high_ratio::DOUBLE) AS severity,
    format(
        'five-minute moves of {:.1f} % in half an hour, {:.1f} times those of the day before, until {}',
        100 * rms,
        ratio,
        strftime(bucket + INTERVAL 5 MINUTES, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    round(rms, 6) AS rms,
    round(usual, 6) AS usual,
    close,
FROM scored_buckets
WHERE ratio >= $min_ratio::DOUBLE
ORDER BY
    symbol,
    bucket
