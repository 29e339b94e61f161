-- price_at lists the symbols that had traded before a moment, with their last price then, its time,
-- and the price a day earlier.
--
-- Without a moment it is the last price on the tape.
--
-- reads:   hours             all before the moment
-- reads:   trades            of the hour a day before
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
        arg_max(close, last_id) AS price,
        arg_max(last_at, last_id) AS traded_at,
        max(last_id) AS id,
    FROM hours(NULL, coalesce(getvariable('moment')::TIMESTAMP, TIMESTAMP '9999-12-31'))
    GROUP BY symbol
),
cuts AS (
    SELECT
        symbol,
        traded_at - INTERVAL 24 HOURS AS cut_at,
        date_trunc('hour', cut_at) AS cut_hour,
        cut_hour::DATE AS cut_date,
    FROM latest
),
-- What traded before the hour of the cut, and the trades of that hour up to the cut.
earlier_pieces AS (
    SELECT
        cuts.symbol AS symbol,
        hours.last_id AS id,
        hours.close AS price,
    FROM hours(NULL, NULL) AS hours
    JOIN cuts ON hours.symbol = cuts.symbol AND hours.hour < cut_hour
    UNION ALL
    SELECT
        cuts.symbol AS symbol,
        trades.id AS id,
        trades.price AS price,
    FROM trades
    JOIN cuts ON trades.symbol = cuts.symbol AND trades.date = cut_date AND trades.traded_at >= cut_hour AND trades.traded_at <= cut_at
),
earlier AS (
    SELECT
        symbol,
        arg_max(price, id) AS price,
    FROM earlier_pieces
    GROUP BY symbol
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
