-- candles lists slices of step_seconds in which a symbol traded in [window_start, window_end). The
-- report draws its price charts from them.
--
-- Slices start at multiples of step_seconds from 1970-01-01 UTC, so they are the same in every
-- window. The first and the last count only trades in the window. A slice without trades has no
-- row.
--
-- reads:   trades        from window_start
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
SELECT
    symbol,
    time_bucket(to_seconds($step_seconds::BIGINT), traded_at, TIMESTAMP '1970-01-01') AS bucket,
    arg_min(price, id) AS open,
    max(price) AS high,
    min(price) AS low,
    arg_max(price, id) AS close,
    sum(qty::DECIMAL(38, 8))::DOUBLE AS volume,
    sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE AS quote_volume,
    sum(last_trade_id - first_trade_id + 1)::BIGINT AS trades,
FROM trades
WHERE traded_at >= $window_start::TIMESTAMP
    AND traded_at < $window_end::TIMESTAMP
GROUP BY symbol, bucket
ORDER BY symbol, bucket
