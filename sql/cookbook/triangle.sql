-- triangle lists UTC seconds in which the way round three symbols, USDT to BTC to ETH and back, was
-- worth more than it cost, before fees.
--
-- It compares the last prices of three trades within one second. They are trades, not offers: the
-- prices differed, but nobody may have been able to trade at them. Three fees of 0.1 percent are
-- 0.3 percent.
--
-- Reads trades, not summaries: it compares the prices of a second.
--
-- reads:   trades        of the three symbols, from since
-- param:   first         VARCHAR    bought first; default 'BTCUSDT'
-- param:   second        VARCHAR    quoted in the base asset of first; default 'ETHBTC'
-- param:   third         VARCHAR    has the base asset of second; default 'ETHUSDT'
-- param:   at_least      DOUBLE     percent, least gain; default 0.1
-- param:   since         TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until         TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  second_at     TIMESTAMP  UTC, start of the second
-- column:  first_price   DOUBLE     quote asset per base asset
-- column:  second_price  DOUBLE     quote asset per base asset
-- column:  third_price   DOUBLE     quote asset per base asset
-- column:  gain          DOUBLE     percent, of the way first, second, third; below zero where the
--                                   other way round gains
-- key:     second_at
WITH
seconds AS (
    SELECT
        date_trunc('second', traded_at) AS second_at,
        arg_max(price, id) FILTER (WHERE symbol = coalesce(getvariable('first')::VARCHAR, 'BTCUSDT')) AS first_price,
        arg_max(price, id) FILTER (WHERE symbol = coalesce(getvariable('second')::VARCHAR, 'ETHBTC')) AS second_price,
        arg_max(price, id) FILTER (WHERE symbol = coalesce(getvariable('third')::VARCHAR, 'ETHUSDT')) AS third_price,
    FROM trades
    WHERE symbol IN (coalesce(getvariable('first')::VARCHAR, 'BTCUSDT'), coalesce(getvariable('second')::VARCHAR, 'ETHBTC'), coalesce(getvariable('third')::VARCHAR, 'ETHUSDT'))
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY second_at
),
gains AS (
    SELECT
        second_at,
        first_price,
        second_price,
        third_price,
        (third_price / nullif(first_price * second_price, 0) - 1) * 100 AS gain,
    FROM seconds
)
SELECT
    second_at,
    first_price,
    second_price,
    third_price,
    gain,
FROM gains
WHERE abs(gain) >= coalesce(getvariable('at_least')::DOUBLE, 0.1)
ORDER BY second_at
