-- NAME lists trades with more than max_qty of the base asset. Replace this by what is
-- wrong with a tape that has such a row. severity is fail if it must never happen, and warn if
-- somebody should look at it.
--
-- reads:    trades     whole
-- param:    max_qty    DOUBLE     base asset, > 0; default 1000000000000
-- column:   symbol     VARCHAR    as the exchange spells it
-- column:   id         BIGINT     the feed's own
-- column:   traded_at  TIMESTAMP  UTC
-- column:   qty        DOUBLE     base asset
-- key:      symbol, id
-- severity: warn
SELECT
    symbol,
    id,
    traded_at,
    qty,
FROM trades
WHERE qty > $max_qty::DOUBLE
ORDER BY
    symbol,
    id
