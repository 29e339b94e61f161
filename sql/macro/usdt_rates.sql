-- usdt_rates(since, until) lists what one unit of the quote asset of each symbol was worth in USDT, for each
-- hour in which the symbol traded in [since, until). Prices are the tape's own, from the same window.
--
-- The price of an asset X is that of the first of these pairs that traded: XUSDT, USDTX, then X and BTC,
-- ETH, BNB or USDC in that order, times the price of that one in USDT. A price is the mean of the hour,
-- weighted by volume, or that of the window if the pairs did not trade in the hour. rate is NULL if no
-- pair traded, and if the symbol ends with no quote asset that is listed here.
CREATE MACRO usdt_rates(since, until) AS TABLE
WITH
traded AS MATERIALIZED (
    SELECT
        symbol,
        hour,
        regexp_extract(
            symbol,
            '^.+?(USDT|USDC|FDUSD|TUSD|BUSD|USD1|USDE|DAI|EUR|EURI|TRY|BRL|JPY|MXN|ZAR|PLN|RON|CZK|COP|ARS|UAH|BTC|ETH|BNB|DOGE|SOL|TRX|XRP)$',
            1
        ) AS asset,
        volume,
        quote_volume,
    FROM hours(since, until)
),
assets AS (
    SELECT DISTINCT asset
    FROM traded
    WHERE asset NOT IN ('', 'USDT')
),
bridges AS (
    SELECT
        unnest(['BTC', 'ETH', 'BNB', 'USDC']) AS bridge,
        unnest([1, 2, 3, 4]) AS place,
),
paths AS (
    SELECT
        asset,
        1 AS place,
        asset || 'USDT' AS pair,
        false AS is_inverse,
        NULL AS bridge_pair,
    FROM assets
    UNION ALL
    SELECT
        asset,
        2 AS place,
        'USDT' || asset AS pair,
        true AS is_inverse,
        NULL AS bridge_pair,
    FROM assets
    UNION ALL
    SELECT
        asset,
        1 + 2 * place AS place,
        asset || bridge AS pair,
        false AS is_inverse,
        bridge || 'USDT' AS bridge_pair,
    FROM assets
    CROSS JOIN bridges
    UNION ALL
    SELECT
        asset,
        2 + 2 * place AS place,
        bridge || asset AS pair,
        true AS is_inverse,
        bridge || 'USDT' AS bridge_pair,
    FROM assets
    CROSS JOIN bridges
),
-- The rows without an hour are those of the window.
pair_prices AS MATERIALIZED (
    SELECT
        symbol AS pair,
        hour,
        nullif(sum(quote_volume)::DOUBLE, 0) / nullif(sum(volume)::DOUBLE, 0) AS price,
    FROM traded
    WHERE symbol IN (SELECT pair FROM paths UNION ALL SELECT bridge_pair FROM paths)
    GROUP BY GROUPING SETS ((symbol, hour), (symbol))
),
rates AS MATERIALIZED (
    SELECT
        paths.asset,
        pair_prices.hour,
        arg_min(
            CASE WHEN paths.is_inverse THEN 1 / pair_prices.price ELSE pair_prices.price END
            * CASE WHEN paths.bridge_pair IS NULL THEN 1 ELSE bridge_prices.price END,
            paths.place
        ) AS rate,
    FROM paths
    INNER JOIN pair_prices USING (pair)
    LEFT JOIN pair_prices AS bridge_prices
        ON bridge_prices.pair = paths.bridge_pair
        AND bridge_prices.hour IS NOT DISTINCT FROM pair_prices.hour
    GROUP BY
        paths.asset,
        pair_prices.hour
)
SELECT
    traded.symbol,
    traded.hour,
    CASE WHEN traded.asset = 'USDT' THEN 1 ELSE coalesce(hour_rates.rate, window_rates.rate) END AS rate,
FROM traded
LEFT JOIN rates AS hour_rates
    ON hour_rates.asset = traded.asset
    AND hour_rates.hour = traded.hour
LEFT JOIN rates AS window_rates
    ON window_rates.asset = traded.asset
    AND window_rates.hour IS NULL;
