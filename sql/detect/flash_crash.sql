-- flash_crash lists minutes at whose end the price had fallen far below that of five minutes
-- before.
--
-- The fall is 1 - lowest price of the last 10 minutes / price of 5 minutes ago. It must be
-- min_drop, and min_rms times the usual five-minute move. The usual move is the root mean square of
-- ln(price / price 5 minutes before) over the recorded minutes of the 24 hours before those 10
-- minutes, and at least rms_floor. The price of a minute without trades is the last one before it,
-- at most 6 hours old; if none exists the move is 0. At least min_orders taker orders must have
-- traded at or below the level of min_drop, so one bad print is no crash. The last price must still
-- be below that of 5 minutes ago.
-- A row with recovered = true marks the end of a crash: min_recovery of the fall came back within
-- half an hour. That fall goes from the highest reference of the crash's rows in 10 minutes to
-- their lowest price. A later recovery has no row.
--
-- Needs min_minutes recorded minutes in those 24 hours and no missing ids in the last 10 minutes
-- and back to the price of 5 minutes ago; otherwise the minute is not judged. A minute with missing
-- ids, and the one in which the record of a symbol begins, do not count as recorded.
--
-- Its baseline is made of minutes. It reads the trades of the few minutes found, not summaries:
-- a minute does not keep the prices of its trades.
--
-- Limits: it misses a fall slower than 5 minutes. Delistings and redenominations look the same. On
-- thin alt/BTC pairs from 2018 to 2021: 0.04 alerts per symbol and day. One symbol-day in 50
-- reaches medium severity, one in 100 high.
--
-- reads:    minutes        from 1856 minutes before window_start
-- reads:    trades         from 49 minutes before window_start
-- param:    window_start   TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end     TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_drop       DOUBLE     fraction of the price of 5 minutes ago, 0 to 1; default 0.10
-- param:    min_rms        DOUBLE     usual five-minute moves; default 8
-- param:    rms_floor      DOUBLE     five-minute move, fraction of the price, > 0; default 0.001
-- param:    bucket_orders  BIGINT     taker orders in the minute; default 10
-- param:    min_orders     BIGINT     taker orders at or below the level; default 2
-- param:    min_recovery   DOUBLE     fraction of the fall, 0 to 1; default 0.5
-- param:    min_minutes    BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_rms     DOUBLE     usual five-minute moves for medium severity; default 22
-- param:    high_rms       DOUBLE     usual five-minute moves for high severity; default 26
-- column:   symbol         VARCHAR    as the exchange spells it
-- column:   at             TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score          DOUBLE     the fall in usual five-minute moves, dimensionless
-- column:   severity       VARCHAR    low, medium or high
-- column:   message        VARCHAR    one sentence
-- column:   first_id       BIGINT     first trade of the last 10 minutes
-- column:   last_id        BIGINT     last trade of the last 10 minutes
-- column:   drop           DOUBLE     the fall, fraction of the reference
-- column:   recovery       DOUBLE     fraction of the fall that came back by the end of the minute,
--                                     may exceed 1
-- column:   recovered      BOOLEAN    true: this row marks the end of the crash
-- column:   reference      DOUBLE     price of 5 minutes ago, quote asset per base asset; if
--                                     recovered, before the crash
-- column:   low            DOUBLE     lowest price of 10 minutes, quote asset per base asset; if
--                                     recovered, of the crash
-- column:   orders_below   BIGINT     taker orders at or below the level
-- key:      symbol, at
-- needs:    whole    10 minutes
-- needs:    price    5 minutes before
-- needs:    history  min_minutes of 24 hours before them
-- threshold: min_rms
-- cooldown: 30 minutes
WITH recent_minutes AS (
    SELECT
        symbol,
        minute,
        is_recorded,
        recorded_from,
        low,
        close,
        buy_orders + sell_orders AS order_count,
        first_id,
        last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1856 MINUTES
        AND minute < $window_end::TIMESTAMP
),

-- A symbol can have crashed only if it fell that far from any price that could be its reference.
-- Other symbols are left out here because the next steps have a row per minute. 1e-9 allows for
-- rounding; the exact comparison comes later.
symbols AS (
    SELECT
        symbol,
        any_value(recorded_from) AS recorded_from,
    FROM recent_minutes
    GROUP BY symbol
    HAVING
        min(low) FILTER (minute >= $window_start::TIMESTAMP - INTERVAL 49 MINUTES)
        <= max(close) * (1 - $min_drop::DOUBLE + 1e-9)
),

calendar AS (
    SELECT
        symbol,
        recorded_from,
        unnest(range($window_start::TIMESTAMP - INTERVAL 1856 MINUTES, $window_end::TIMESTAMP, INTERVAL 1 MINUTE)) AS minute,
    FROM symbols
),

filled_minutes AS (
    SELECT
        symbol,
        minute,
        low,
        close,
        coalesce(order_count, 0) AS order_count,
        first_id,
        last_id,
        NOT coalesce(is_recorded, minute >= calendar.recorded_from) AS is_unrecorded,
    FROM calendar
    LEFT JOIN recent_minutes USING (symbol, minute)
),

-- A price is carried over minutes without trades, but not over a minute with missing ids.
priced_minutes AS (
    SELECT
        symbol,
        minute,
        low,
        order_count,
        first_id,
        last_id,
        is_unrecorded,
        CASE
            WHEN
                max(minute) FILTER (close IS NOT NULL) OVER six_hours
                > coalesce(max(minute) FILTER (is_unrecorded) OVER six_hours, TIMESTAMP '1970-01-01')
                THEN last_value(close IGNORE NULLS) OVER six_hours
        END AS price,
    FROM filled_minutes
    WINDOW
        six_hours AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 6 HOURS PRECEDING AND CURRENT ROW
        )
),

-- Moves are whole millionths, so a sum of squares is exact in any order.
moved_minutes AS (
    SELECT
        symbol,
        minute,
        low,
        order_count,
        first_id,
        last_id,
        is_unrecorded,
        price,
        lag(price, 5) OVER by_time AS price_before,
        CASE
            WHEN count(*) FILTER (is_unrecorded) OVER six_minutes = 0
                THEN coalesce(round(1e6 * ln(price / nullif(lag(price, 5) OVER by_time, 0))), 0)::BIGINT
        END AS move,
    FROM priced_minutes
    WINDOW
        by_time AS (PARTITION BY symbol ORDER BY minute),
        six_minutes AS (PARTITION BY symbol ORDER BY minute ROWS BETWEEN 5 PRECEDING AND CURRENT ROW)
),

compared_minutes AS (
    SELECT
        symbol,
        minute,
        price AS close,
        price_before AS reference,
        order_count,
        min(low) OVER ten_minutes AS lowest,
        min(first_id) OVER ten_minutes AS first_id,
        max(last_id) OVER ten_minutes AS last_id,
        count(*) FILTER (is_unrecorded) OVER ten_minutes AS unrecorded,
        count(*) FILTER (NOT is_unrecorded) OVER day_before AS recorded_minutes,
        1e-6 * sqrt((sum(move * move) OVER day_before) / nullif(count(move) OVER day_before, 0)) AS rms,
    FROM moved_minutes
    WINDOW
        ten_minutes AS (PARTITION BY symbol ORDER BY minute ROWS BETWEEN 9 PRECEDING AND CURRENT ROW),
        day_before AS (PARTITION BY symbol ORDER BY minute ROWS BETWEEN 1449 PRECEDING AND 10 PRECEDING)
),

fallen_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        reference,
        lowest,
        first_id,
        last_id,
        1 - lowest / nullif(reference, 0) AS fall,
        fall / greatest(rms, $rms_floor::DOUBLE) AS score,
    FROM compared_minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 40 MINUTES
        AND unrecorded = 0
        AND recorded_minutes >= $min_minutes::BIGINT
        AND order_count >= $bucket_orders::BIGINT
        AND fall >= $min_drop::DOUBLE
        AND score >= $min_rms::DOUBLE
        AND close < reference
),

crashes AS (
    SELECT
        fallen_minutes.symbol,
        fallen_minutes.minute,
        any_value(close) AS close,
        any_value(reference) AS reference,
        any_value(lowest) AS lowest,
        any_value(fallen_minutes.first_id) AS first_id,
        any_value(fallen_minutes.last_id) AS last_id,
        any_value(fall) AS fall,
        any_value(score) AS score,
        count(DISTINCT (date_trunc('millisecond', traded_at), is_buyer_maker)) AS orders_below,
    FROM fallen_minutes
    JOIN trades
        ON
            fallen_minutes.symbol = trades.symbol
            AND date_trunc('minute', trades.traded_at) <= fallen_minutes.minute
            AND date_trunc('minute', trades.traded_at) >= fallen_minutes.minute - INTERVAL 9 MINUTES
            AND trades.price <= fallen_minutes.reference * (1 - $min_drop::DOUBLE)
    WHERE trades.traded_at >= $window_start::TIMESTAMP - INTERVAL 49 MINUTES
    GROUP BY
        fallen_minutes.symbol,
        fallen_minutes.minute,
    HAVING orders_below >= $min_orders::BIGINT
),

-- The whole fall of a crash, from its rows in 10 minutes: the price of 5 minutes ago falls with it.
whole_crashes AS (
    SELECT
        symbol,
        minute,
        score,
        first_id,
        orders_below,
        max(reference) OVER ten_minutes AS reference,
        min(lowest) OVER ten_minutes AS lowest,
        lead(minute) OVER (PARTITION BY symbol ORDER BY minute) AS next_minute,
    FROM crashes
    WINDOW
        ten_minutes AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 10 MINUTES PRECEDING AND CURRENT ROW
        )
),

-- The first minute within half an hour after a row, and before the next row, at whose end enough
-- has come back.
recoveries AS (
    SELECT
        whole_crashes.symbol,
        whole_crashes.minute AS crash_minute,
        min(priced_minutes.minute) AS minute,
        arg_min(priced_minutes.price, priced_minutes.minute) AS close,
        arg_min(priced_minutes.last_id, priced_minutes.minute) AS last_id,
        any_value(score) AS score,
        any_value(whole_crashes.first_id) AS first_id,
        any_value(orders_below) AS orders_below,
        any_value(reference) AS reference,
        any_value(lowest) AS lowest,
    FROM whole_crashes
    JOIN priced_minutes
        ON
            whole_crashes.symbol = priced_minutes.symbol
            AND whole_crashes.minute < priced_minutes.minute
            AND whole_crashes.minute + INTERVAL 30 MINUTES > priced_minutes.minute
            AND coalesce(whole_crashes.next_minute > priced_minutes.minute, true)
            AND whole_crashes.lowest
            + $min_recovery::DOUBLE * (whole_crashes.reference - whole_crashes.lowest) <= priced_minutes.price
    WHERE
        order_count > 0
        AND NOT is_unrecorded
    GROUP BY
        whole_crashes.symbol,
        whole_crashes.minute
),

all_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        reference,
        lowest,
        first_id,
        last_id,
        fall,
        score,
        orders_below,
        false AS recovered,
    FROM crashes
    UNION ALL
    SELECT
        symbol,
        minute,
        close,
        reference,
        lowest,
        first_id,
        last_id,
        1 - lowest / nullif(reference, 0) AS fall,
        score,
        orders_below,
        true AS recovered,
    FROM recoveries
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(score, 2) AS score,
    severity_of(score, $medium_rms::DOUBLE, $high_rms::DOUBLE) AS severity,
    CASE
        WHEN recovered
            THEN format(
                'recovered from a fall of {:.1f} %: {:.0f} % of it is back by {}',
                100 * fall,
                100 * (close - lowest) / (reference - lowest),
                strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
            )
        ELSE format(
            'fell {:.1f} % below the price of 5 minutes before ({:.0f} times the usual move), {:.0f} % of it is back by {}',
            100 * fall,
            score,
            100 * (close - lowest) / (reference - lowest),
            strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
        )
    END AS message,
    first_id,
    last_id,
    round(fall, 6) AS drop,
    round((close - lowest) / (reference - lowest), 6) AS recovery,
    recovered,
    reference,
    lowest AS low,
    orders_below,
FROM all_minutes
WHERE minute >= $window_start::TIMESTAMP
ORDER BY
    symbol,
    minute
