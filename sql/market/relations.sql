-- The relations of market.duckdb besides the views that read the tape's files: gaps and bounds. With them detectors and report sections run unchanged. No data.

-- gaps lists the gaps in the ids: one row per run of ids missing between ids on the tape.
CREATE VIEW gaps AS
SELECT
    symbol,
    id_before + 1 AS first_id,
    id - 1 AS last_id,
    at_before AS after_at,
    traded_at AS before_at,
FROM (
    SELECT
        symbol,
        id,
        traded_at,
        lag(id) OVER by_id AS id_before,
        lag(traded_at) OVER by_id AS at_before,
    FROM trades
    WINDOW by_id AS (PARTITION BY symbol ORDER BY id)
)
WHERE id > id_before + 1
ORDER BY
    symbol,
    id;

-- bounds lists the first and the last trade of each symbol on the tape. What else is known about a
-- symbol's ends is not in the tape's Parquet files.
CREATE VIEW bounds AS
SELECT
    symbol,
    min(id) AS first_id,
    max(id) AS last_id,
    arg_min(traded_at, id) AS first_at,
    arg_max(traded_at, id) AS last_at,
    arg_min(traded_at, id) AS known_since,
    'trade' AS known_since_by,
    arg_max(traded_at, id) AS known_until,
    'trade' AS known_until_by,
FROM trades
GROUP BY symbol
ORDER BY symbol;
