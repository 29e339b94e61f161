-- The relations of market.duckdb besides the views that read the tape's files: gaps, bounds and open_conflicts. With them detectors and report sections run unchanged. No data.

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

-- open_conflicts lists the conflicts that are not resolved: the row on the tape does not have the content
-- that was refused, and the id was not dropped on purpose.
CREATE VIEW open_conflicts AS
SELECT conflicts.*
FROM conflicts
LEFT JOIN trades AS on_tape USING (symbol, id)
LEFT JOIN (
    SELECT DISTINCT
        symbol,
        first_id,
        last_id,
    FROM drops
    WHERE what = 'trades'
) AS dropped
    ON dropped.symbol = conflicts.symbol
    AND conflicts.id BETWEEN dropped.first_id AND dropped.last_id
GROUP BY ALL
HAVING NOT coalesce(bool_or(
        on_tape.price = other_price
        AND on_tape.qty = other_qty
        AND on_tape.is_buyer_maker = other_is_buyer_maker
        AND (on_tape.traded_at = other_traded_at
            OR date_trunc('milliseconds', on_tape.traded_at) = date_trunc('milliseconds', other_traded_at)
                AND (on_tape.traded_at = date_trunc('milliseconds', on_tape.traded_at)
                    OR other_traded_at = date_trunc('milliseconds', other_traded_at)))
        AND (on_tape.first_trade_id = other_first_trade_id AND on_tape.last_trade_id = other_last_trade_id
            OR on_tape.first_trade_id = id AND on_tape.last_trade_id = id
            OR other_first_trade_id = id AND other_last_trade_id = id)
    ), false)
    AND (count(on_tape.traded_at) > 0 OR count(dropped.first_id) = 0)
ORDER BY
    conflicts.symbol,
    conflicts.id,
    conflicts.found_at;
