-- candles lists slices of step_seconds in which a symbol traded in [window_start, window_end). The
-- report draws its price charts from them, with the alerts of the section incidents.
--
-- Slices start at multiples of step_seconds from 1970-01-01 UTC, so they are the same in every
-- window. The first and the last count only trades in the window. A slice without trades has no
-- row.
--
-- reads:   trades        from window_start
-- reads:   hours         from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- param:   step_seconds  BIGINT     seconds, length of a slice, >= 1; default 3600
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  bucket        TIMESTAMP  UTC, start of the slice
-- column:  open          DOUBLE     quote asset per base asset, price of the lowest id
-- column:  high          DOUBLE     quote asset per base asset, highest price
-- column:  low           DOUBLE     quote asset per base asset, lowest price
-- column:  close         DOUBLE     quote asset per base asset, price of the highest id
-- column:  volume        DOUBLE     base asset, sum of qty
-- column:  quote_volume  DOUBLE     quote asset, sum of price times qty
-- column:  trades        BIGINT     raw trades
-- key:     symbol, bucket
-- Steps of whole hours are made of hours, other steps of trades.
WITH
pieces AS (
    SELECT
        symbol,
        hour AS at,
        open,
        high,
        low,
        close,
        volume,
        quote_volume,
        trades,
        first_id,
        last_id,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    WHERE $step_seconds::BIGINT % 3600 = 0
    UNION ALL
    SELECT
        symbol,
        traded_at AS at,
        price AS open,
        price AS high,
        price AS low,
        price AS close,
        qty::DECIMAL(38, 8) AS volume,
        price::DECIMAL(38, 8) * qty::DECIMAL(38, 8) AS quote_volume,
        last_trade_id - first_trade_id + 1 AS trades,
        id AS first_id,
        id AS last_id,
    FROM trades
    WHERE $step_seconds::BIGINT % 3600 <> 0
        AND traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
)
SELECT
    symbol,
    time_bucket(to_seconds($step_seconds::BIGINT), "at", TIMESTAMP '1970-01-01') AS bucket,
    arg_min(open, first_id) AS open,
    max(high) AS high,
    min(low) AS low,
    arg_max(close, last_id) AS close,
    sum(volume)::DOUBLE AS volume,
    sum(quote_volume)::DOUBLE AS quote_volume,
    sum(trades)::BIGINT AS trades,
FROM pieces
GROUP BY symbol, bucket
ORDER BY symbol, bucket
