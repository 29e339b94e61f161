-- slippage_by_size lists sizes of taker orders, in powers of ten of the quote asset, with the
-- slippage that such orders paid.
--
-- An order is everything that the takers of a symbol traded on one side at one instant. Its
-- slippage is the mean price over its first price. Sizes without orders have no row.
--
-- Reads trades, not summaries: an hour does not keep its orders.
--
-- reads:   trades          of the symbol, from since
-- param:   symbol          VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   since           TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until           TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  from_quote_qty  DOUBLE     quote asset, lower end of the size class
-- column:  orders          BIGINT     taker orders of that size
-- column:  mean_slippage   DOUBLE     percent, >= 0, mean over the orders
-- column:  worst_slippage  DOUBLE     percent, >= 0, of the worst order
-- column:  swept_share     DOUBLE     share of orders at more than one price, 0 to 1
-- key:     from_quote_qty
WITH
orders AS (
    SELECT
        traded_at,
        is_buyer_maker,
        arg_min(price, id) AS first_price,
        sum(price * qty) AS quote_qty,
        sum(qty) AS qty,
        count(DISTINCT price) AS prices,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
    GROUP BY traded_at, is_buyer_maker
),
costs AS (
    SELECT
        pow(10, floor(log10(quote_qty))) AS from_quote_qty,
        abs(quote_qty / nullif(qty, 0) / nullif(first_price, 0) - 1) * 100 AS slippage,
        prices,
    FROM orders
    WHERE quote_qty > 0
)
SELECT
    from_quote_qty,
    count(*) AS orders,
    round(avg(slippage), 9) AS mean_slippage,
    round(max(slippage), 9) AS worst_slippage,
    avg((prices > 1)::INTEGER) AS swept_share,
FROM costs
GROUP BY from_quote_qty
ORDER BY from_quote_qty
