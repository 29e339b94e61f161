-- in_another_currency lists the symbols quoted in one asset, BTC by default, with their volume and price
-- converted to USDT, hour by hour at the tape's own prices, as the report converts them.
--
-- The macro usdt_rates has the rule: the mean price of the hour of the asset's pair with USDT, or of pairs
-- that lead there. What nothing leads to USDT from is blank.
--
-- reads:   hours            of all symbols, from since
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
converted AS (
    SELECT
        symbol,
        rows,
        open,
        close,
        open * rate AS converted_open,
        close * rate AS converted_close,
        first_id,
        last_id,
        in_usdt(quote_volume, rate) AS converted_volume,
    FROM hours(
        coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01'),
        coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    ) AS hours
    INNER JOIN usdt_rates(
        coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01'),
        coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    ) AS rates USING (symbol, hour)
    WHERE ends_with(symbol, coalesce(getvariable('asset')::VARCHAR, 'BTC'))
)
SELECT
    symbol,
    sum(rows)::BIGINT AS rows,
    arg_min(converted_open, first_id) AS first_price,
    arg_max(converted_close, last_id) AS last_price,
    (arg_max(converted_close, last_id) / nullif(arg_min(converted_open, first_id), 0) - 1) * 100 AS change,
    (arg_max(close, last_id) / nullif(arg_min(open, first_id), 0) - 1) * 100 AS change_in_asset,
    CASE WHEN bool_and(converted_volume IS NOT NULL) THEN sum(converted_volume)::DOUBLE END AS volume,
FROM converted
GROUP BY symbol
ORDER BY symbol
