-- damaged_row lists impossible trades: a price or quantity that is not a positive number, or
-- larger than 10^15, or whose product is, raw trades that end before they begin, or an id of more
-- than 18 digits.
--
-- Binance has published rows with price 0, quantity 0 and ids -1 in place of duplicates; they do
-- not belong on a tape.
--
-- reads:    trades          whole
-- column:   symbol          VARCHAR    as the exchange spells it
-- column:   id              BIGINT     the feed's own
-- column:   traded_at       TIMESTAMP  UTC
-- column:   price           DOUBLE     quote asset per base asset
-- column:   qty             DOUBLE     base asset
-- column:   first_trade_id  BIGINT     first raw trade
-- column:   last_trade_id   BIGINT     last raw trade
-- key:      symbol, id
-- severity: fail
SELECT
    symbol,
    id,
    traded_at,
    price,
    qty,
    first_trade_id,
    last_trade_id,
FROM trades
WHERE
    NOT isfinite(price)
    OR price <= 0
    OR NOT isfinite(qty)
    OR qty <= 0
    OR price > 1e15
    OR qty > 1e15
    OR price * qty > 1e15
    OR id < 0
    OR first_trade_id < 0
    OR id > 999999999999999999
    OR last_trade_id < first_trade_id
    OR last_trade_id > 999999999999999999
ORDER BY
    symbol,
    id
