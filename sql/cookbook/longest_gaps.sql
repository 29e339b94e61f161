-- longest_gaps lists the gaps in the ids of the tape, the longest first: times about which no query can
-- say anything.
--
-- Ids do not show what is missing before the first and after the last trade of a symbol.
--
-- reads:   gaps       all
-- column:  symbol     VARCHAR    as the exchange spells it
-- column:  first_id   BIGINT     lowest missing id
-- column:  last_id    BIGINT     highest missing id
-- column:  missing    BIGINT     ids
-- column:  after_at   TIMESTAMP  UTC, of the trade before
-- column:  before_at  TIMESTAMP  UTC, of the trade after
-- column:  seconds    DOUBLE     seconds between the two
-- key:     symbol, first_id
SELECT
    symbol,
    first_id,
    last_id,
    last_id - first_id + 1 AS missing,
    after_at,
    before_at,
    (epoch_us(before_at) - epoch_us(after_at)) / 1e6 AS seconds,
FROM gaps
ORDER BY seconds DESC, symbol, first_id
