-- pauses lists the symbols with the time from one trade to the next.
--
-- Only pauses between consecutive ids count: nothing was missed in them.
--
-- Reads trades, not summaries: an hour does not keep the times between its trades.
--
-- reads:   trades         from since
-- param:   since          TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until          TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol         VARCHAR    as the exchange spells it
-- column:  pauses         BIGINT     pairs of rows with consecutive ids
-- column:  median_ms      DOUBLE     milliseconds
-- column:  p90_ms         DOUBLE     milliseconds, nine of ten are shorter
-- column:  p99_ms         DOUBLE     milliseconds, 99 of 100 are shorter
-- column:  longest_ms     DOUBLE     milliseconds
-- column:  longest_from   TIMESTAMP  UTC, start of the longest
-- column:  same_ms_share  DOUBLE     share of pauses of length 0, 0 to 1
-- key:     symbol
WITH
neighbours AS (
    SELECT
        symbol,
        id,
        traded_at,
        lag(id) OVER by_id AS id_before,
        lag(traded_at) OVER by_id AS traded_before,
    FROM trades
    WHERE traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    WINDOW by_id AS (PARTITION BY symbol ORDER BY id)
),
pauses AS (
    SELECT
        symbol,
        traded_before,
        (epoch_us(traded_at) - epoch_us(traded_before)) / 1000 AS pause_ms,
    FROM neighbours
    WHERE id = id_before + 1
)
SELECT
    symbol,
    count(*) AS pauses,
    quantile_cont(pause_ms, 0.5) AS median_ms,
    quantile_cont(pause_ms, 0.9) AS p90_ms,
    quantile_cont(pause_ms, 0.99) AS p99_ms,
    max(pause_ms) AS longest_ms,
    arg_max(traded_before, pause_ms ORDER BY traded_before) AS longest_from,
    avg((pause_ms = 0)::INTEGER) AS same_ms_share,
FROM pauses
GROUP BY symbol
ORDER BY symbol
