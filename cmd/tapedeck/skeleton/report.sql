-- NAME lists the symbols with their trades and quote volume in the window. Replace this
-- by what a row of your section is.
--
-- title:   TITLE
-- reads:   trades        from window_start
-- param:   window_start  TIMESTAMP  UTC, inclusive
-- param:   window_end    TIMESTAMP  UTC, exclusive
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  trades        BIGINT     trades of the tape's feed
-- column:  quote_volume  DOUBLE     quote asset
-- key:     symbol
SELECT
    symbol,
    count(*) AS trades,
    sum((price * qty)::DECIMAL(38, 8))::DOUBLE AS quote_volume,
FROM trades
WHERE
    traded_at >= $window_start::TIMESTAMP
    AND traded_at < $window_end::TIMESTAMP
GROUP BY symbol
ORDER BY symbol
