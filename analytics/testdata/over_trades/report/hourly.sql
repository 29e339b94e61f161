-- hourly lists UTC hours in which a symbol traded in [window_start, window_end).
--
-- The first and the last hour count only trades in the window. An hour without trades has no row.
--
-- reads:   trades           from window_start
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
WITH
symbol_hours AS (
    SELECT
        symbol,
        date_trunc('hour', traded_at) AS hour,
        sum(last_trade_id - first_trade_id + 1)::BIGINT AS trades,
        arg_min(price, id) AS open,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, id) AS close,
        sum(qty::DECIMAL(38, 8))::DOUBLE AS volume,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE AS quote_volume,
        coalesce(
            sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8)) FILTER (WHERE NOT is_buyer_maker),
            0
        )::DOUBLE AS taker_buy_quote_volume,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, hour
)
SELECT
    symbol,
    hour,
    trades,
    open,
    high,
    low,
    close,
    (close - open) / nullif(open, 0) * 100 AS change,
    volume,
    quote_volume,
    taker_buy_quote_volume / nullif(quote_volume, 0) AS taker_buy_share,
FROM symbol_hours
ORDER BY symbol, hour
