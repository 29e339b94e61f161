-- in_another_currency lists the symbols quoted in one asset, BTC by default, with their volume and
-- price converted to another, such as USDT.
--
-- Each trade is converted at the last price of the other symbol at or before it (ASOF JOIN). Trades
-- before the first such price are left out.
--
-- Reads trades, not summaries: the rate of a trade is that of its instant.
--
-- reads:   trades           of those symbols, from since
-- param:   asset            VARCHAR    quote asset to replace; default 'BTC'
-- param:   over             VARCHAR    symbol whose base asset is asset; default 'BTCUSDT'
-- param:   since            TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until            TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol           VARCHAR    as the exchange spells it
-- column:  rows             BIGINT     rows of the tape that could be converted
-- column:  first_price      DOUBLE     price of the first row, converted
-- column:  last_price       DOUBLE     price of the last row, converted
-- column:  change           DOUBLE     percent, last_price over first_price
-- column:  change_in_asset  DOUBLE     percent, before conversion
-- column:  volume           DOUBLE     quote volume, converted
-- key:     symbol
WITH
pair_trades AS (
    SELECT
        symbol,
        id,
        price,
        qty,
        traded_at,
    FROM trades
    WHERE ends_with(symbol, coalesce(getvariable('asset')::VARCHAR, 'BTC'))
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
),
rates AS (
    SELECT
        traded_at,
        arg_max(price, id) AS rate,
    FROM trades
    WHERE symbol = coalesce(getvariable('over')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
    GROUP BY traded_at
),
converted AS (
    SELECT
        symbol,
        id,
        price,
        price * rate AS converted_price,
        price * rate * qty AS converted_qty,
    FROM pair_trades
    ASOF JOIN rates ON pair_trades.traded_at >= rates.traded_at
)
SELECT
    symbol,
    count(*) AS rows,
    arg_min(converted_price, id) AS first_price,
    arg_max(converted_price, id) AS last_price,
    (arg_max(converted_price, id) / nullif(arg_min(converted_price, id), 0) - 1) * 100 AS change,
    (arg_max(price, id) / nullif(arg_min(price, id), 0) - 1) * 100 AS change_in_asset,
    sum(converted_qty) AS volume,
FROM converted
GROUP BY symbol
ORDER BY symbol
