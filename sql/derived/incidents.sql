-- incidents groups the alerts that are about one event. Alerts of a symbol less than an hour apart
-- are one incident, whatever their detectors. Its severity is that of its most severe alert, but at
-- least medium if three detectors agree and high if six do: of measured incidents one in forty with
-- one detector was a pump, one in five with three, and two in three with six or more. If incidents
-- of a tenth of all symbols, and at least five, begin in the same ten minutes of the clock, they
-- become one incident of the whole market.
WITH compared_alerts AS (
    SELECT
        symbol,
        "at" AS raised_at,
        detector,
        score,
        message,
        CASE severity
            WHEN 'high' THEN 3
            WHEN 'medium' THEN 2
            ELSE 1
        END AS severity_rank,
        coalesce(
            "at" - lag("at") OVER (PARTITION BY symbol ORDER BY "at", detector) >= INTERVAL 1 HOUR,
            true
        ) AS is_first,
    FROM alerts
),

numbered_alerts AS (
    SELECT
        symbol,
        raised_at,
        detector,
        score,
        message,
        severity_rank,
        count(*) FILTER (is_first) OVER (PARTITION BY symbol ORDER BY raised_at, detector) AS number,
    FROM compared_alerts
),

symbol_incidents AS (
    SELECT
        symbol,
        min(raised_at) AS started_at,
        max(raised_at) AS last_at,
        greatest(
            max(severity_rank),
            CASE
                WHEN count(DISTINCT detector) >= 6 THEN 3
                WHEN count(DISTINCT detector) >= 3 THEN 2
                ELSE 1
            END
        ) AS severity_rank,
        list(DISTINCT detector) AS detectors,
        count(*) AS alerts,
        first(message ORDER BY severity_rank DESC, score DESC, raised_at, detector) AS message,
        time_bucket(INTERVAL 10 MINUTES, min(raised_at)) AS bucket,
    FROM numbered_alerts
    GROUP BY
        symbol,
        number,
),

broad_buckets AS (
    SELECT
        bucket,
        count(DISTINCT symbol) AS symbol_count,
        (SELECT count(*) FROM bounds) AS all_count,
    FROM symbol_incidents
    GROUP BY bucket
    HAVING symbol_count >= greatest(5, all_count / 10)
),

grouped_incidents AS (
    SELECT
        CASE WHEN symbol_count IS NULL THEN symbol ELSE '*' END AS symbol,
        min(started_at) AS started_at,
        max(last_at) AS last_at,
        max(severity_rank) AS severity_rank,
        list_sort(list_distinct(flatten(list(detectors)))) AS detectors,
        list_sort(list(DISTINCT symbol)) AS symbols,
        sum(alerts)::BIGINT AS alerts,
        CASE
            WHEN any_value(symbol_count) IS NULL THEN any_value(message)
            ELSE format('{} of {} symbols at once', any_value(symbol_count), any_value(all_count))
        END AS message,
    FROM symbol_incidents
    LEFT JOIN broad_buckets USING (bucket)
    GROUP BY
        CASE WHEN symbol_count IS NULL THEN symbol ELSE '*' END,
        CASE WHEN symbol_count IS NULL THEN started_at ELSE bucket END,
)

SELECT
    symbol,
    started_at,
    last_at,
    CASE severity_rank
        WHEN 3 THEN 'high'
        WHEN 2 THEN 'medium'
        ELSE 'low'
    END AS severity,
    detectors,
    symbols,
    alerts,
    message,
FROM grouped_incidents
