-- conflicts lists the ids of [window_start, window_end) that have two contents: the row on the tape,
-- and a row with the same id that was refused because it says something else.
--
-- A refused row is not part of any other section. A conflict counts if either of its rows is in
-- the window. One that is resolved, or whose id was dropped on purpose, does not count.
--
-- reads:   open_conflicts        all
-- param:   window_start          TIMESTAMP  UTC, inclusive
-- param:   window_end            TIMESTAMP  UTC, exclusive
-- column:  symbol                VARCHAR    as the exchange spells it
-- column:  id                    BIGINT     the id that has two contents
-- column:  price                 DOUBLE     quote asset per base asset, on the tape
-- column:  qty                   DOUBLE     base asset, on the tape
-- column:  taker_side            VARCHAR    buy or sell, on the tape
-- column:  traded_at             TIMESTAMP  UTC, on the tape
-- column:  source                VARCHAR    where the row on the tape came from
-- column:  other_price           DOUBLE     quote asset per base asset, of the refused row
-- column:  other_qty             DOUBLE     base asset, of the refused row
-- column:  other_taker_side      VARCHAR    buy or sell, of the refused row
-- column:  other_traded_at       TIMESTAMP  UTC, of the refused row
-- column:  other_source          VARCHAR    where the refused row came from
-- column:  other_first_trade_id  BIGINT     first raw trade of the refused row
-- column:  other_last_trade_id   BIGINT     last raw trade of the refused row
-- column:  found_at              TIMESTAMP  UTC, when the row was refused
-- key:     symbol, id, found_at, other_price, other_qty, other_traded_at, other_taker_side, other_first_trade_id, other_last_trade_id
SELECT
    symbol,
    id,
    price,
    qty,
    CASE WHEN is_buyer_maker THEN 'sell' ELSE 'buy' END AS taker_side,
    traded_at,
    source,
    other_price,
    other_qty,
    CASE WHEN other_is_buyer_maker THEN 'sell' ELSE 'buy' END AS other_taker_side,
    other_traded_at,
    other_source,
    other_first_trade_id,
    other_last_trade_id,
    found_at,
FROM open_conflicts
WHERE (traded_at >= $window_start::TIMESTAMP AND traded_at < $window_end::TIMESTAMP)
    OR (other_traded_at >= $window_start::TIMESTAMP AND other_traded_at < $window_end::TIMESTAMP)
ORDER BY
    symbol,
    id,
    found_at,
    other_price,
    other_qty,
    other_traded_at,
    other_taker_side,
    other_first_trade_id,
    other_last_trade_id
