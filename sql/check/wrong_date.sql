-- wrong_date lists trades in a partition other than the UTC date on which they traded.
--
-- reads:    trades     whole
-- column:   symbol     VARCHAR    as the exchange spells it
-- column:   id         BIGINT     the feed's own
-- column:   traded_at  TIMESTAMP  UTC
-- column:   date       DATE       the partition that holds it
-- key:      symbol, id, date
-- severity: fail
SELECT
    symbol,
    id,
    traded_at,
    date,
FROM trades
WHERE date <> traded_at::DATE
ORDER BY
    symbol,
    id,
    date
