-- hourly lists UTC hours in which a symbol traded in [window_start, window_end).
--
-- The first and the last hour count only trades in the window. An hour without trades has no row.
--
-- reads:   hours            from window_start
-- param:   window_start     TIMESTAMP  UTC, inclusive
-- param:   window_end       TIMESTAMP  UTC, exclusive
-- column:  symbol           VARCHAR    as the exchange spells it
-- column:  hour             TIMESTAMP  UTC, start of the hour
-- column:  trades           BIGINT     raw trades
-- column:  open             DOUBLE     quote asset per base asset, price of the lowest id
-- column:  high             DOUBLE     quote asset per base asset, highest price
-- column:  low              DOUBLE     quote asset per base asset, lowest price
-- column:  close            DOUBLE     quote asset per base asset, price of the highest id
-- column:  change           DOUBLE     percent, close over open
-- column:  volume           DOUBLE     base asset, sum of qty
-- column:  quote_volume     DOUBLE     quote asset, sum of price times qty
-- column:  taker_buy_share  DOUBLE     share of quote_volume, 0 to 1, in which the taker bought
-- key:     symbol, hour
SELECT
    symbol,
    hour,
    trades,
    open,
    high,
    low,
    close,
    (close - open) / nullif(open, 0) * 100 AS change,
    volume::DOUBLE AS volume,
    quote_volume::DOUBLE AS quote_volume,
    buy_quote_volume::DOUBLE / nullif(quote_volume::DOUBLE, 0) AS taker_buy_share,
FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP)
ORDER BY symbol, hour
