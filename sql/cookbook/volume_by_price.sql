-- volume_by_price lists steps of price with the volume that a symbol traded in them and the share
-- that takers bought.
--
-- The steps divide the range from the lowest to the highest price equally. Traders call the step
-- with the most volume the point of control.
--
-- Reads trades, not summaries: an hour does not keep the prices of its trades.
--
-- reads:   trades           of the symbol, from since
-- param:   symbol           VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   levels           BIGINT     number of steps, >= 1; default 20
-- param:   since            TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until            TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  from_price       DOUBLE     quote asset per base asset, lower end of the step
-- column:  volume           DOUBLE     base asset
-- column:  volume_share     DOUBLE     share of all volume, 0 to 1
-- column:  taker_buy_share  DOUBLE     share of the step's volume bought by takers, 0 to 1
-- column:  is_largest       BOOLEAN    no step has more volume
-- key:     from_price
WITH
selected_trades AS (
    SELECT
        price,
        qty,
        is_buyer_maker,
        min(price) OVER () AS low,
        nullif(max(price) OVER () - min(price) OVER (), 0) AS range,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
),
levelled_trades AS (
    SELECT
        coalesce(least(floor((price - low) / range * coalesce(getvariable('levels')::BIGINT, 20)), coalesce(getvariable('levels')::BIGINT, 20) - 1), 0) AS level,
        low,
        coalesce(range, 0) AS range,
        qty,
        is_buyer_maker,
    FROM selected_trades
),
levels AS (
    SELECT
        level,
        any_value(low) + level * any_value(range) / coalesce(getvariable('levels')::BIGINT, 20) AS from_price,
        sum(qty) AS volume,
        coalesce(sum(qty) FILTER (WHERE NOT is_buyer_maker), 0) AS buy_volume,
    FROM levelled_trades
    GROUP BY level
)
SELECT
    round(from_price, 8) AS from_price,
    volume,
    volume / nullif(sum(volume) OVER (), 0) AS volume_share,
    buy_volume / nullif(volume, 0) AS taker_buy_share,
    volume = max(volume) OVER () AS is_largest,
FROM levels
ORDER BY from_price
