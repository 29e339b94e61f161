-- bucket_baselines(judged, bucket_minutes, since, until) describes what is usual for a symbol: one row per
-- (symbol, hour) in judged, over the buckets of the clock in the 24 hours before that hour. A
-- bucket without trades counts as 0; a bucket with missing ids does not count. judged names a
-- relation or CTE with the columns symbol, hour and recorded_from. since must be at least 24 hours
-- before the first hour.
CREATE MACRO bucket_baselines(judged, bucket_minutes, since, until) AS TABLE
WITH sums AS (
    SELECT
        hours.symbol,
        hours.hour,
        date_diff('minute', greatest(hours.hour - INTERVAL 24 HOURS, hours.recorded_from), hours.hour) // bucket_minutes
        - count(*) FILTER (NOT is_recorded AND bucket >= hours.recorded_from) AS recorded_buckets,
        coalesce(sum(orders) FILTER (is_recorded), 0) AS order_sum,
        coalesce(sum(orders * orders) FILTER (is_recorded), 0) AS order_square_sum,
        coalesce(sum(quote_volume) FILTER (is_recorded), 0) AS volume_sum,
        coalesce(sum(quote_volume * quote_volume) FILTER (is_recorded), 0) AS volume_square_sum,
        coalesce((max(quote_volume, 3) FILTER (is_recorded))[3], 0) AS third_quote_volume,
        coalesce(sum(flow) FILTER (is_recorded), 0) AS flow_sum,
        coalesce(sum(flow * flow) FILTER (is_recorded), 0) AS flow_square_sum,
    FROM (SELECT DISTINCT symbol, hour, recorded_from FROM query_table(judged)) AS hours
    LEFT JOIN clock_buckets(judged, bucket_minutes, since, until) AS buckets
        ON
            hours.symbol = buckets.symbol
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
    order_sum / nullif(recorded_buckets, 0) AS mean_orders,
    sqrt(greatest(order_square_sum / nullif(recorded_buckets, 0) - mean_orders ** 2, 0)) AS sd_orders,
    volume_sum / nullif(recorded_buckets, 0) AS mean_quote_volume,
    sqrt(greatest(volume_square_sum / nullif(recorded_buckets, 0) - mean_quote_volume ** 2, 0)) AS sd_quote_volume,
    third_quote_volume,
    flow_sum / nullif(recorded_buckets, 0) AS mean_flow,
    sqrt(greatest(flow_square_sum / nullif(recorded_buckets, 0) - mean_flow ** 2, 0)) AS sd_flow,
FROM sums;
