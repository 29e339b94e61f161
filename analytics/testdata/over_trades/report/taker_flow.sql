-- taker_flow lists the symbols that traded in [window_start, window_end): what the takers bought
-- and what they sold.
--
-- The taker sold if the buyer was the maker.
--
-- reads:   trades             from window_start
-- param:   window_start       TIMESTAMP  UTC, inclusive
-- param:   window_end         TIMESTAMP  UTC, exclusive
-- column:  symbol             VARCHAR    as the exchange spells it
-- column:  buy_trades         BIGINT     raw trades in which the taker bought
-- column:  sell_trades        BIGINT     raw trades in which the taker sold
-- column:  buy_quote_volume   DOUBLE     quote asset, sum of taker buys
-- column:  sell_quote_volume  DOUBLE     quote asset, sum of taker sells
-- column:  net_quote_volume   DOUBLE     quote asset, bought less sold
-- column:  imbalance          DOUBLE     percent, bought less sold over both, -100 to 100
-- column:  buy_vwap           DOUBLE     quote asset per base asset, mean price of taker buys by
--                                        qty
-- column:  sell_vwap          DOUBLE     quote asset per base asset, mean price of taker sells by
--                                        qty
-- key:     symbol
WITH
window_trades AS (
    SELECT
        symbol,
        last_trade_id - first_trade_id + 1 AS raw_trades,
        qty::DECIMAL(38, 8) AS exact_qty,
        price::DECIMAL(38, 8) * qty::DECIMAL(38, 8) AS exact_quote_qty,
        is_buyer_maker,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
),
symbol_flows AS (
    SELECT
        symbol,
        coalesce(sum(raw_trades) FILTER (WHERE NOT is_buyer_maker), 0)::BIGINT AS buy_trades,
        coalesce(sum(raw_trades) FILTER (WHERE is_buyer_maker), 0)::BIGINT AS sell_trades,
        coalesce(sum(exact_qty) FILTER (WHERE NOT is_buyer_maker), 0)::DOUBLE AS buy_volume,
        coalesce(sum(exact_qty) FILTER (WHERE is_buyer_maker), 0)::DOUBLE AS sell_volume,
        coalesce(sum(exact_quote_qty) FILTER (WHERE NOT is_buyer_maker), 0) AS exact_buy,
        coalesce(sum(exact_quote_qty) FILTER (WHERE is_buyer_maker), 0) AS exact_sell,
    FROM window_trades
    GROUP BY symbol
)
SELECT
    symbol,
    buy_trades,
    sell_trades,
    exact_buy::DOUBLE AS buy_quote_volume,
    exact_sell::DOUBLE AS sell_quote_volume,
    (exact_buy - exact_sell)::DOUBLE AS net_quote_volume,
    (exact_buy - exact_sell)::DOUBLE / nullif((exact_buy + exact_sell)::DOUBLE, 0) * 100 AS imbalance,
    exact_buy::DOUBLE / nullif(buy_volume, 0) AS buy_vwap,
    exact_sell::DOUBLE / nullif(sell_volume, 0) AS sell_vwap,
FROM symbol_flows
ORDER BY symbol
