-- backwards lists trades that are more than max_step earlier than the trade with the id before. Ids
-- and times should rise together.
--
-- reads:    trades         whole
-- param:    max_step       INTERVAL   allowed step back; default 1 second
-- column:   symbol         VARCHAR    as the exchange spells it
-- column:   id             BIGINT     the feed's own
-- column:   traded_at      TIMESTAMP  UTC
-- column:   at_before      TIMESTAMP  UTC, of the trade before it by id
-- key:      symbol, id
-- severity: warn
WITH ordered_trades AS (
    SELECT
        symbol,
        id,
        traded_at,
        lag(traded_at) OVER (PARTITION BY symbol ORDER BY id) AS at_before,
    FROM trades
)

SELECT
    symbol,
    id,
    traded_at,
    at_before,
FROM ordered_trades
WHERE traded_at < at_before - $max_step::INTERVAL
ORDER BY
    symbol,
    id
