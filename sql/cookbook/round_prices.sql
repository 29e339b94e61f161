-- round_prices lists the last digits of a symbol's prices: how often it traded at round prices.
--
-- The ending is the last digit in front of the given number of decimals: with 0 it is the last
-- digit of the whole number. A price with further decimals has the ending 'between'. Without a
-- preference each of ten endings would have a tenth; people prefer 0 and 5.
--
-- Reads trades, not summaries: an hour does not keep the prices of its trades.
--
-- reads:   trades        of the symbol, from since
-- param:   symbol        VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   decimals      BIGINT     decimals of a round price, negative for tens; default 0
-- param:   since         TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until         TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  ending        VARCHAR    0 to 9, or between
-- column:  rows          BIGINT     rows of the tape
-- column:  row_share     DOUBLE     share of rows, 0 to 1
-- column:  volume_share  DOUBLE     share of qty, 0 to 1
-- key:     ending
WITH
scaled AS (
    SELECT
        qty,
        round(price * pow(10, coalesce(getvariable('decimals')::BIGINT, 0)), 6) AS steps,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
),
endings AS (
    SELECT
        CASE WHEN steps = floor(steps) THEN (steps % 10)::BIGINT::VARCHAR ELSE 'between' END AS ending,
        count(*) AS rows,
        sum(qty) AS volume,
    FROM scaled
    GROUP BY ending
)
SELECT
    ending,
    rows,
    rows / sum(rows) OVER () AS row_share,
    volume / nullif(sum(volume) OVER (), 0) AS volume_share,
FROM endings
ORDER BY ending
