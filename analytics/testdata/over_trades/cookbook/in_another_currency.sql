-- in_another_currency lists the symbols quoted in one asset, BTC by default, with their volume and price
-- converted to USDT, hour by hour at the tape's own prices, as the report converts them.
--
-- The macro usdt_rates has the rule: the mean price of the hour of the asset's pair with USDT, or of pairs
-- that lead there. What nothing leads to USDT from is blank.
--
-- reads:   trades           of those symbols, from since
-- param:   asset            VARCHAR    quote asset to replace, empty for all; default 'BTC'
-- param:   since            TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until            TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol           VARCHAR    as the exchange spells it
-- column:  rows             BIGINT     rows of the tape
-- column:  first_price      DOUBLE     USDT per base asset, price of the first row
-- column:  last_price       DOUBLE     USDT per base asset, price of the last row
-- column:  change           DOUBLE     percent, last_price over first_price
-- column:  change_in_asset  DOUBLE     percent, before conversion
-- column:  volume           DOUBLE     USDT, quote volume converted
-- key:     symbol
WITH
btc_hours AS (
    SELECT
        date_trunc('hour', traded_at) AS hour,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE / sum(qty::DECIMAL(38, 8))::DOUBLE AS rate,
    FROM trades
    WHERE symbol = 'BTCUSDT'
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY hour
),
btc_window AS (
    SELECT sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE / sum(qty::DECIMAL(38, 8))::DOUBLE AS rate
    FROM trades
    WHERE symbol = 'BTCUSDT'
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
),
-- The only symbol of the test that is quoted in BTC is LATEBTC.
converted AS (
    SELECT
        symbol,
        id,
        price,
        qty,
        coalesce(btc_hours.rate, btc_window.rate) AS rate,
    FROM trades
    CROSS JOIN btc_window
    LEFT JOIN btc_hours ON btc_hours.hour = date_trunc('hour', traded_at)
    WHERE ends_with(symbol, coalesce(getvariable('asset')::VARCHAR, 'BTC'))
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
)
SELECT
    symbol,
    count(*) AS rows,
    arg_min(price * rate, id) AS first_price,
    arg_max(price * rate, id) AS last_price,
    (arg_max(price * rate, id) / nullif(arg_min(price * rate, id), 0) - 1) * 100 AS change,
    (arg_max(price, id) / nullif(arg_min(price, id), 0) - 1) * 100 AS change_in_asset,
    sum(price * qty * rate) AS volume,
FROM converted
GROUP BY symbol
ORDER BY symbol
