-- price_impact lists the symbols with how far the price moves per quote asset that takers net buy
-- or sell (Kyle's lambda).
--
-- It is the slope of a line through slices of time, price change over net taker volume, and the
-- share of the changes that the line explains. A small slope means a liquid market. A single slice
-- has no slope.
--
-- Steps of whole hours are made of hours, other steps of trades.
--
-- reads:   trades            from since
-- reads:   hours             from since
-- param:   step              INTERVAL   length of a slice; default 1 minute
-- param:   since             TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until             TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  symbol            VARCHAR    as the exchange spells it
-- column:  slices            BIGINT     slices in which it traded
-- column:  quote_volume      DOUBLE     quote asset, of all slices
-- column:  percent_for_1000  DOUBLE     price change in percent per 1000 quote asset of net volume
-- column:  explained         DOUBLE     share of the changes' variance, 0 to 1
-- key:     symbol
WITH
slices AS (
    SELECT
        symbol,
        time_bucket(coalesce(getvariable('step')::INTERVAL, INTERVAL '1 minute'), piece_at) AS bucket,
        (arg_max(close, last_id) / nullif(arg_min(open, first_id), 0) - 1) * 100 AS change,
        sum(2 * buy_quote_volume - quote_volume)::DOUBLE AS net_quote_volume,
        sum(quote_volume)::DOUBLE AS quote_volume,
    FROM pieces_of(
        coalesce(getvariable('step')::INTERVAL, INTERVAL '1 minute'),
        coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01'),
        coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    )
    GROUP BY symbol, bucket
)
SELECT
    symbol,
    count(*) AS slices,
    sum(quote_volume ORDER BY bucket) AS quote_volume,
    CASE WHEN count(*) > 1 THEN round(regr_slope(change, net_quote_volume) * 1000, 9) END AS percent_for_1000,
    round(regr_r2(change, net_quote_volume), 9) AS explained,
FROM slices
GROUP BY symbol
ORDER BY symbol
