-- overview lists the symbols that traded in [window_start, window_end): how much, at what prices,
-- and which way the takers went.
--
-- Sums use exact decimals of 16 places and become doubles at the end, so they do not depend on the
-- order of the rows. Open and close are the prices of the lowest and the highest id, which is the
-- order in which the exchange matched the trades; many trades share a traded_at.
--
-- The volume in USDT is converted hour by hour at the window's own prices: those of the quote asset's pair
-- with USDT, or of its pair with BTC, ETH, BNB or USDC and theirs with USDT (macro usdt_rates).
--
-- reads:   hours              from window_start
-- param:   window_start       TIMESTAMP  UTC, inclusive
-- param:   window_end         TIMESTAMP  UTC, exclusive
-- column:  symbol             VARCHAR    as the exchange spells it
-- column:  trades             BIGINT     raw trades, in either feed
-- column:  rows               BIGINT     rows of the tape
-- column:  open               DOUBLE     quote asset per base asset, price of the lowest id
-- column:  high               DOUBLE     quote asset per base asset, highest price
-- column:  low                DOUBLE     quote asset per base asset, lowest price
-- column:  close              DOUBLE     quote asset per base asset, price of the highest id
-- column:  change             DOUBLE     percent, close over open
-- column:  volume             DOUBLE     base asset, sum of qty
-- column:  quote_volume       DOUBLE     quote asset, sum of price times qty
-- column:  quote_volume_usdt  DOUBLE     USDT at the window's own prices, quote_volume converted; blank if no pairs lead to USDT
-- column:  vwap               DOUBLE     quote asset per base asset, quote_volume over volume
-- column:  taker_buy_share    DOUBLE     share of quote_volume, 0 to 1, in which the taker bought
-- column:  first_traded_at    TIMESTAMP  UTC, of the lowest id
-- column:  last_traded_at     TIMESTAMP  UTC, of the highest id
-- key:     symbol
WITH
symbol_totals AS (
    SELECT
        symbol,
        sum(trades)::BIGINT AS trades,
        sum(rows)::BIGINT AS rows,
        arg_min(open, first_id) AS open,
        max(high) AS high,
        min(low) AS low,
        arg_max(close, last_id) AS close,
        sum(volume)::DOUBLE AS volume,
        sum(quote_volume)::DOUBLE AS quote_volume,
        CASE WHEN bool_and(in_usdt(quote_volume, rate) IS NOT NULL) THEN sum(in_usdt(quote_volume, rate))::DOUBLE END AS quote_volume_usdt,
        sum(buy_quote_volume)::DOUBLE AS taker_buy_quote_volume,
        arg_min(first_at, first_id) AS first_traded_at,
        arg_max(last_at, last_id) AS last_traded_at,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS hours
    INNER JOIN usdt_rates($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS rates USING (symbol, hour)
    GROUP BY symbol
)
SELECT
    symbol,
    trades,
    rows,
    open,
    high,
    low,
    close,
    (close - open) / nullif(open, 0) * 100 AS change,
    volume,
    quote_volume,
    quote_volume_usdt,
    quote_volume / nullif(volume, 0) AS vwap,
    taker_buy_quote_volume / nullif(quote_volume, 0) AS taker_buy_share,
    first_traded_at,
    last_traded_at,
FROM symbol_totals
ORDER BY symbol
