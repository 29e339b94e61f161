-- hours lists UTC hours in which a symbol traded: at what prices, how much, and what takers bought.
--
-- Sums are exact decimals, so hours can be added up in any order. What takers sold is the rest.
--
-- reads:   trades            all
-- column:  symbol            VARCHAR         as the exchange spells it
-- column:  hour              TIMESTAMP       UTC, start of the hour
-- column:  rows              BIGINT          rows of the tape
-- column:  trades            BIGINT          raw trades, in either feed
-- column:  buy_trades        BIGINT          raw trades in which the taker bought
-- column:  open              DOUBLE          quote asset per base asset, price of the lowest id
-- column:  high              DOUBLE          quote asset per base asset, highest price
-- column:  low               DOUBLE          quote asset per base asset, lowest price
-- column:  close             DOUBLE          quote asset per base asset, price of the highest id
-- column:  volume            DECIMAL(38,8)   base asset, sum of qty
-- column:  buy_volume        DECIMAL(38,8)   base asset, bought by takers
-- column:  quote_volume      DECIMAL(38,16)  quote asset, sum of price times qty
-- column:  buy_quote_volume  DECIMAL(38,16)  quote asset, bought by takers
-- column:  first_id          BIGINT          lowest id
-- column:  last_id           BIGINT          highest id
-- column:  first_at          TIMESTAMP       UTC, traded_at of the lowest id
-- column:  last_at           TIMESTAMP       UTC, traded_at of the highest id
-- key:     symbol, hour
WITH
exact_trades AS (
    SELECT
        symbol,
        date_trunc('hour', traded_at) AS hour,
        id,
        price,
        last_trade_id - first_trade_id + 1 AS raw_trades,
        qty::DECIMAL(38, 8) AS exact_qty,
        price::DECIMAL(38, 8) * qty::DECIMAL(38, 8) AS exact_quote_qty,
        traded_at,
        is_buyer_maker,
    FROM trades
)
SELECT
    symbol,
    hour,
    count(*) AS rows,
    sum(raw_trades)::BIGINT AS trades,
    coalesce(sum(raw_trades) FILTER (WHERE NOT is_buyer_maker), 0)::BIGINT AS buy_trades,
    arg_min(price, id) AS open,
    max(price) AS high,
    min(price) AS low,
    arg_max(price, id) AS close,
    sum(exact_qty) AS volume,
    coalesce(sum(exact_qty) FILTER (WHERE NOT is_buyer_maker), 0) AS buy_volume,
    sum(exact_quote_qty) AS quote_volume,
    coalesce(sum(exact_quote_qty) FILTER (WHERE NOT is_buyer_maker), 0) AS buy_quote_volume,
    min(id) AS first_id,
    max(id) AS last_id,
    arg_min(traded_at, id) AS first_at,
    arg_max(traded_at, id) AS last_at,
FROM exact_trades
GROUP BY symbol, hour
ORDER BY symbol, hour
