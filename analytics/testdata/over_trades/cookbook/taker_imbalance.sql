-- taker_imbalance lists slices of time in which a symbol traded, with what takers bought less what
-- they sold, and the running sum (cumulative volume delta).
--
-- reads:   trades            of the symbol, from since
-- param:   symbol            VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   step              INTERVAL   length of a slice; default 1 hour
-- param:   since             TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until             TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  bucket            TIMESTAMP  UTC, start of the slice
-- column:  net_quote_volume  DOUBLE     quote asset, taker buys less taker sells
-- column:  imbalance         DOUBLE     net_quote_volume over quote_volume, -1 to 1
-- column:  running_net       DOUBLE     quote asset, sum of net_quote_volume so far
-- column:  change            DOUBLE     percent, last price of the slice over its first
-- key:     bucket
WITH
slices AS (
    SELECT
        time_bucket(coalesce(getvariable('step')::INTERVAL, INTERVAL '1 hour'), traded_at) AS bucket,
        sum(CASE WHEN is_buyer_maker THEN -price * qty ELSE price * qty END) AS net_quote_volume,
        sum(price * qty) AS quote_volume,
        arg_min(price, id) AS open,
        arg_max(price, id) AS close,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY bucket
)
SELECT
    bucket,
    net_quote_volume,
    net_quote_volume / nullif(quote_volume, 0) AS imbalance,
    sum(net_quote_volume) OVER (ORDER BY bucket) AS running_net,
    (close / nullif(open, 0) - 1) * 100 AS change,
FROM slices
ORDER BY bucket
