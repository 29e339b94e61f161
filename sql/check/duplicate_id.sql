-- duplicate_id lists the trades that stand more than once on the tape, which must never be.
--
-- reads:    trades    whole
-- column:   symbol    VARCHAR   as the exchange spells it
-- column:   id        BIGINT    the id that stands more than once
-- column:   times     BIGINT    how often
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
