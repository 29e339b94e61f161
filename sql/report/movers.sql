-- movers lists the symbols that rose the most and those that fell the most in [window_start,
-- window_end), by close over open.
--
-- A symbol whose close equals its open is in neither group. Symbols that moved equally are ranked
-- by name.
--
-- reads:   hours              from window_start
-- param:   window_start       TIMESTAMP  UTC, inclusive
-- param:   window_end         TIMESTAMP  UTC, exclusive
-- param:   top                BIGINT     symbols of each side, >= 1; default 10
-- param:   symbols            VARCHAR    symbols to rank, separated by commas, empty for all; default ''
-- column:  side               VARCHAR    gainer or loser
-- column:  rank               BIGINT     1 moved the most
-- column:  symbol             VARCHAR    as the exchange spells it
-- column:  change             DOUBLE     percent, close over open
-- column:  open               DOUBLE     quote asset per base asset, price of the lowest id
-- column:  close              DOUBLE     quote asset per base asset, price of the highest id
-- column:  high               DOUBLE     quote asset per base asset, highest price
-- column:  low                DOUBLE     quote asset per base asset, lowest price
-- column:  trades             BIGINT     raw trades
-- column:  quote_volume       DOUBLE     quote asset, sum of price times qty
-- column:  quote_volume_usdt  DOUBLE     USDT at the window's own prices, quote_volume converted as in overview
-- key:     side, rank
WITH
symbol_prices AS (
    SELECT
        symbol,
        arg_min(open, first_id) AS first_price,
        arg_max(close, last_id) AS last_price,
        (last_price - first_price) / nullif(first_price, 0) * 100 AS change,
        max(high) AS high,
        min(low) AS low,
        sum(trades)::BIGINT AS trades,
        sum(quote_volume)::DOUBLE AS quote_volume,
        CASE WHEN bool_and(in_usdt(quote_volume, rate) IS NOT NULL) THEN sum(in_usdt(quote_volume, rate))::DOUBLE END AS quote_volume_usdt,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS hours
    INNER JOIN usdt_rates($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS rates USING (symbol, hour)
    WHERE $symbols::VARCHAR = '' OR list_contains(string_split($symbols::VARCHAR, ','), symbol)
    GROUP BY symbol
)
SELECT
    CASE WHEN last_price > first_price THEN 'gainer' ELSE 'loser' END AS side,
    row_number() OVER (PARTITION BY side ORDER BY abs(change) DESC, symbol) AS rank,
    symbol,
    change,
    first_price AS open,
    last_price AS close,
    high,
    low,
    trades,
    quote_volume,
    quote_volume_usdt,
FROM symbol_prices
WHERE last_price <> first_price
QUALIFY rank <= $top::BIGINT
ORDER BY side, rank
