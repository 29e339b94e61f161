-- move_baselines(judged, since, until) describes how far the price of a symbol usually moves in five
-- minutes: one row per (symbol, hour) in judged, over the five-minute buckets of the clock in the
-- 24 hours before that hour. A move is ln(close / close of the last bucket that traded, at most 6
-- hours earlier). It counts as 0 if nothing traded, or if the bucket before has missing ids: a
-- price from before a gap says nothing about the move after it. judged names a relation or CTE with
-- the columns symbol, hour and recorded_from. since must be at least 30 hours before the first
-- hour.
CREATE MACRO move_baselines(judged, since, until) AS TABLE
WITH moved_buckets AS (
    SELECT
        symbol,
        bucket,
        is_recorded,
        CASE
            WHEN lag(is_recorded) OVER by_time AND lag(bucket) OVER by_time >= bucket - INTERVAL 6 HOURS
                THEN ln(close / nullif(lag(close) OVER by_time, 0))
        END AS move,
    FROM clock_buckets(judged, 5, since, until)
    WINDOW by_time AS (PARTITION BY symbol ORDER BY bucket)
),

sums AS (
    SELECT
        hours.symbol,
        hours.hour,
        date_diff('minute', greatest(hours.hour - INTERVAL 24 HOURS, hours.recorded_from), hours.hour) // 5
        - count(*) FILTER (NOT is_recorded AND bucket >= hours.recorded_from) AS recorded_buckets,
        coalesce(sum(move * move) FILTER (is_recorded), 0) AS square_sum,
    FROM (SELECT DISTINCT symbol, hour, recorded_from FROM query_table(judged)) AS hours
    LEFT JOIN moved_buckets
        ON
            hours.symbol = moved_buckets.symbol
            AND bucket >= hours.hour - INTERVAL 24 HOURS
            AND bucket < hours.hour
    GROUP BY
        hours.symbol,
        hours.hour,
        hours.recorded_from,
)

SELECT
    symbol,
    hour,
    recorded_buckets,
    sqrt(square_sum / nullif(recorded_buckets, 0)) AS rms_move,
FROM sums;
