-- duplicate_id lists ids that are more than once on the tape, which must never happen.
--
-- reads:    trades    whole
-- column:   symbol    VARCHAR   as the exchange spells it
-- column:   id        BIGINT    the repeated id
-- column:   times     BIGINT    number of rows
-- key:      symbol, id
-- severity: fail
SELECT
    symbol,
    id,
    count(*) AS times,
FROM trades
GROUP BY
    symbol,
    id,
HAVING count(*) > 1
ORDER BY
    symbol,
    id
