-- NAME lists minutes in which takers traded at least min_quote. Replace this by what
-- your detector finds, and the query by how it finds it.
--
-- Limits: say what it misses and what else looks the same.
--
-- reads:    minutes       from window_start
-- param:    window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_quote     DOUBLE     quote asset, in the minute, > 0; default 1000000
-- column:   symbol        VARCHAR    as the exchange spells it
-- column:   at            TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score         DOUBLE     how unusual it is: quote volume over min_quote, dimensionless
-- column:   severity      VARCHAR    low, medium or high
-- column:   message       VARCHAR    one sentence
-- column:   first_id      BIGINT     first trade that it is about
-- column:   last_id       BIGINT     last trade that it is about
-- key:      symbol, at
-- needs:    whole  1 minute
-- cooldown: 30 minutes
SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(quote_volume / nullif($min_quote::DOUBLE, 0), 2) AS score,
    'low' AS severity,
    format('traded {:,} of quote asset in a minute', quote_volume::BIGINT) AS message,
    first_id,
    last_id,
FROM minutes
WHERE
    minute >= $window_start::TIMESTAMP
    AND minute < $window_end::TIMESTAMP
    AND is_recorded
    AND quote_volume >= $min_quote::DOUBLE
ORDER BY
    symbol,
    minute
