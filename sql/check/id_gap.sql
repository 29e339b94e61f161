-- id_gap lists gaps in the ids between two trades of a symbol that are on the tape.
--
-- It reads every trade instead of the relation gaps, so it also checks what the index says.
--
-- reads:    trades     whole
-- column:   symbol     VARCHAR    as the exchange spells it
-- column:   first_id   BIGINT     first missing id
-- column:   last_id    BIGINT     last missing id
-- column:   missing    BIGINT     missing ids
-- column:   after_at   TIMESTAMP  UTC, of the trade before the gap
-- column:   before_at  TIMESTAMP  UTC, of the trade after the gap
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
)

SELECT
    symbol,
    id_before + 1 AS first_id,
    id - 1 AS last_id,
    id - id_before - 1 AS missing,
    at_before AS after_at,
    traded_at AS before_at,
FROM ordered_trades
WHERE id > id_before + 1
ORDER BY
    symbol,
    first_id
