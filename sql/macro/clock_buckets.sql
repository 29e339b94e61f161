-- clock_buckets(source, bucket_minutes, since, until) sums up the minutes in [since, until) by
-- buckets of the clock, each bucket_minutes long: one row per (symbol, bucket). source names a
-- relation or CTE with a column symbol; other symbols are not read. A bucket in which nothing traded
-- and no ids are missing has no row.
CREATE MACRO clock_buckets(source, bucket_minutes, since, until) AS TABLE
SELECT
    symbol,
    time_bucket(to_minutes(bucket_minutes::BIGINT), minute) AS bucket,
    bool_and(is_recorded) AS is_recorded,
    arg_max(close, minute) AS close,
    sum(volume) AS volume,
    sum(quote_volume) AS quote_volume,
    sum(2 * buy_quote_volume - quote_volume) AS flow,
    sum(buy_orders + sell_orders) AS orders,
FROM minutes
WHERE
    minute >= since
    AND minute < until
    AND symbol IN (SELECT symbol FROM query_table(source))
GROUP BY
    symbol,
    bucket;
