-- breadth lists UTC hours in which anything traded in [window_start, window_end): how much of the
-- market moved, and which way.
--
-- Volumes are in USDT at the window's own prices, because those of different quote assets cannot be
-- added; symbols of which no pairs lead to USDT are left out of them. The first and the last hour count
-- only trades in the window.
--
-- reads:   hours              from window_start
-- param:   window_start       TIMESTAMP  UTC, inclusive
-- param:   window_end         TIMESTAMP  UTC, exclusive
-- column:  hour               TIMESTAMP  UTC, start of the hour
-- column:  trades             BIGINT     raw trades of the symbols together
-- column:  symbols            BIGINT     symbols that traded
-- column:  rose               BIGINT     symbols whose last price of the hour is above their first
-- column:  fell               BIGINT     symbols whose last price of the hour is below their first
-- column:  rising_share       DOUBLE     share of the symbols that moved, 0 to 1
-- column:  quote_volume_usdt  DOUBLE     USDT at the window's own prices, sum over the usdt_symbols; converted as in overview
-- column:  usdt_symbols       BIGINT     symbols of which pairs lead to USDT
-- key:     hour
SELECT
    hour,
    sum(trades)::BIGINT AS trades,
    count(*) AS symbols,
    count(*) FILTER (WHERE close > open) AS rose,
    count(*) FILTER (WHERE close < open) AS fell,
    (count(*) FILTER (WHERE close > open))::DOUBLE / nullif(count(*) FILTER (WHERE close <> open), 0) AS rising_share,
    sum(in_usdt(quote_volume, rate))::DOUBLE AS quote_volume_usdt,
    count(in_usdt(quote_volume, rate)) AS usdt_symbols,
FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS hours
INNER JOIN usdt_rates($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS rates USING (symbol, hour)
GROUP BY hour
ORDER BY hour
