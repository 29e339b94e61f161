-- id_gap lists the runs of ids that are missing between two trades of a symbol that are on the tape.
--
-- reads:    trades     whole
-- column:   symbol     VARCHAR    as the exchange spells it
-- column:   first_id   BIGINT     first missing id
-- column:   last_id    BIGINT     last missing id
-- column:   missing    BIGINT     how many
-- column:   after_at   TIMESTAMP  UTC, of the trade before the hole
-- column:   before_at  TIMESTAMP  UTC, of the trade after it
-- key:      symbol, first_id
-- severity: warn
WITH neighbours AS (
    SELECT
        symbol,
        id,
        traded_at,
        lag(id) OVER by_id AS id_before,
        lag(traded_at) OVER by_id AS at_before,
    FROM trades
    WINDOW by_id AS (PARTITION BY symbol ORDER BY id)
)

SELECT
    symbol,
    id_before + 1 AS first_id,
    id - 1 AS last_id,
    id - id_before - 1 AS missing,
    at_before AS after_at,
    traded_at AS before_at,
FROM neighbours
WHERE id > id_before + 1
ORDER BY
    symbol,
    first_id
