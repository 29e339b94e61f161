-- correlation lists one row: how closely two symbols move together, by their returns from one slice
-- of time to the next.
--
-- Only slices count in which both symbols traded, as well as in the slice before. beta is by how
-- many percent symbol moves if other moves by one percent.
--
-- Steps of whole hours are made of hours, other steps of trades.
--
-- reads:   trades       of both symbols, from since
-- reads:   hours        of both symbols, from since
-- param:   symbol       VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   other        VARCHAR    as the exchange spells it; default 'ETHUSDT'
-- param:   step         INTERVAL   length of a slice; default 1 minute
-- param:   since        TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until        TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol       VARCHAR    the first symbol
-- column:  other        VARCHAR    the second symbol
-- column:  returns      BIGINT     slices compared
-- column:  correlation  DOUBLE     of the returns, -1 to 1
-- column:  beta         DOUBLE     slope of symbol's returns over other's
-- key:     symbol, other
WITH
slices AS (
    SELECT
        symbol,
        bucket,
        close,
    FROM candles(
        coalesce(getvariable('step')::INTERVAL, INTERVAL '1 minute'),
        since := coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01'),
        until := coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    )
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT') OR symbol = coalesce(getvariable('other')::VARCHAR, 'ETHUSDT')
),
neighbours AS (
    SELECT
        symbol,
        bucket,
        close / nullif(lag(close) OVER by_time, 0) - 1 AS change,
        lag(bucket) OVER by_time + coalesce(getvariable('step')::INTERVAL, INTERVAL '1 minute') AS expected_at,
    FROM slices
    WINDOW by_time AS (PARTITION BY symbol ORDER BY bucket)
),
pairs AS (
    SELECT
        one.change AS change,
        two.change AS other_change,
    FROM neighbours AS one
    JOIN neighbours AS two USING (bucket)
    WHERE one.symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND two.symbol = coalesce(getvariable('other')::VARCHAR, 'ETHUSDT')
        AND one.bucket = one.expected_at
        AND two.bucket = two.expected_at
)
SELECT
    coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT') AS symbol,
    coalesce(getvariable('other')::VARCHAR, 'ETHUSDT') AS other,
    count(*) AS returns,
    round(corr(change, other_change), 9) AS correlation,
    round(regr_slope(change, other_change), 9) AS beta,
FROM pairs
HAVING count(*) > 1
ORDER BY symbol, other
