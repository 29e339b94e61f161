-- holes has a row for each run of ids that are missing on the tape, the longest time first: what nobody
-- should draw a conclusion over. What is missing before a symbol's first and after its last trade on the
-- tape the ids cannot tell.
--
-- reads:   gaps       all
-- column:  symbol     VARCHAR    as the exchange spells it
-- column:  first_id   BIGINT     lowest id that is missing
-- column:  last_id    BIGINT     highest id that is missing
-- column:  missing    BIGINT     ids
-- column:  after_at   TIMESTAMP  UTC, the trade before
-- column:  before_at  TIMESTAMP  UTC, the trade after
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
