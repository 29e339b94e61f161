-- price_at lists the symbols that had traded before a moment, with their last price then, its time,
-- and the price a day earlier.
--
-- Without a moment it is the last price on the tape.
--
-- reads:   trades            all before the moment
-- param:   moment            TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol            VARCHAR    as the exchange spells it
-- column:  price             DOUBLE     quote asset per base asset, of the last trade before
-- column:  traded_at         TIMESTAMP  UTC, when it traded
-- column:  id                BIGINT     its id
-- column:  price_day_before  DOUBLE     quote asset per base asset, last price a day or more
--                                       earlier, or NULL
-- column:  change            DOUBLE     percent, price over price_day_before
-- key:     symbol
WITH
latest AS (
    SELECT
        symbol,
        arg_max(price, id) AS price,
        arg_max(traded_at, id) AS traded_at,
        max(id) AS id,
    FROM trades
    WHERE traded_at < coalesce(getvariable('moment')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY symbol
),
earlier AS (
    SELECT
        trades.symbol AS symbol,
        arg_max(trades.price, trades.id) AS price,
    FROM trades
    JOIN latest ON trades.symbol = latest.symbol AND trades.traded_at <= latest.traded_at - INTERVAL 24 HOURS
    GROUP BY trades.symbol
)
SELECT
    latest.symbol AS symbol,
    latest.price AS price,
    latest.traded_at AS traded_at,
    latest.id AS id,
    earlier.price AS price_day_before,
    (latest.price / nullif(earlier.price, 0) - 1) * 100 AS change,
FROM latest
LEFT JOIN earlier USING (symbol)
ORDER BY symbol
