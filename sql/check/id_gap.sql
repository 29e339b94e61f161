-- id_gap lists gaps in the ids between two trades of a symbol that are on the tape. Ids that were
-- dropped on purpose are not missing.
--
-- It reads every trade instead of the relation gaps, so it also checks what the index says.
--
-- reads:    trades       whole
-- reads:    dropped_ids  all
-- column:   symbol       VARCHAR    as the exchange spells it
-- column:   first_id     BIGINT     first id of the gap
-- column:   last_id      BIGINT     last id of the gap
-- column:   missing      BIGINT     missing ids; fewer than those of the gap if some were dropped
-- column:   after_at     TIMESTAMP  UTC, of the trade before the gap
-- column:   before_at    TIMESTAMP  UTC, of the trade after the gap
-- key:      symbol, first_id
-- severity: warn
WITH ordered_trades AS (
    SELECT
        symbol,
        id,
        traded_at,
        lag(id) OVER by_id AS id_before,
        lag(traded_at) OVER by_id AS at_before,
    FROM trades
    WINDOW by_id AS (PARTITION BY symbol ORDER BY id)
),
id_gaps AS (
    SELECT
        symbol,
        id_before + 1 AS first_id,
        id - 1 AS last_id,
        at_before AS after_at,
        traded_at AS before_at,
    FROM ordered_trades
    WHERE id > id_before + 1
),
counted_gaps AS (
    SELECT
        id_gaps.symbol AS symbol,
        id_gaps.first_id AS first_id,
        id_gaps.last_id AS last_id,
        (
            id_gaps.last_id - id_gaps.first_id + 1
            - coalesce(
                sum(
                    least(id_gaps.last_id, dropped_ids.last_id)
                    - greatest(id_gaps.first_id, dropped_ids.first_id) + 1
                ) FILTER (dropped_ids.first_id IS NOT NULL),
                0
            )
        )::BIGINT AS missing,
        any_value(id_gaps.after_at) AS after_at,
        any_value(id_gaps.before_at) AS before_at,
    FROM id_gaps
    LEFT JOIN dropped_ids
        ON id_gaps.symbol = dropped_ids.symbol
        AND id_gaps.first_id <= dropped_ids.last_id
        AND id_gaps.last_id >= dropped_ids.first_id
    GROUP BY id_gaps.symbol, id_gaps.first_id, id_gaps.last_id
)

SELECT
    symbol,
    first_id,
    last_id,
    missing,
    after_at,
    before_at,
FROM counted_gaps
WHERE missing > 0
ORDER BY
    symbol,
    first_id
