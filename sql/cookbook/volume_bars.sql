-- volume_bars lists bars of equal base volume instead of equal time: a busy hour has many, a quiet
-- night few.
--
-- A trade belongs wholly to the bar in which it begins. A bar may therefore hold a little more or
-- less than size, and a trade larger than a bar skips bar numbers.
--
-- Reads trades, not summaries: a bar can begin at any trade.
--
-- reads:   trades        of the symbol, from since
-- param:   symbol        VARCHAR    as the exchange spells it; default 'BTCUSDT'
-- param:   size          DOUBLE     base asset per bar, > 0; default 100
-- param:   since         TIMESTAMP  UTC, inclusive; default 1970-01-01
-- param:   until         TIMESTAMP  UTC, exclusive; default 9999-12-31
-- column:  bar           BIGINT     from 0
-- column:  opened_at     TIMESTAMP  UTC, of its first trade
-- column:  closed_at     TIMESTAMP  UTC, of its last trade
-- column:  open          DOUBLE     quote asset per base asset
-- column:  high          DOUBLE     quote asset per base asset
-- column:  low           DOUBLE     quote asset per base asset
-- column:  close         DOUBLE     quote asset per base asset
-- column:  volume        DOUBLE     base asset
-- column:  quote_volume  DOUBLE     quote asset
-- column:  first_id      BIGINT     of its first row
-- column:  last_id       BIGINT     of its last row
-- key:     bar
WITH
running AS (
    SELECT
        id,
        price,
        qty,
        traded_at,
        sum(qty) OVER (ORDER BY id) - qty AS volume_before,
    FROM trades
    WHERE symbol = coalesce(getvariable('symbol')::VARCHAR, 'BTCUSDT')
        AND traded_at >= coalesce(getvariable('since')::TIMESTAMP, TIMESTAMP '1970-01-01')
        AND traded_at < coalesce(getvariable('until')::TIMESTAMP, TIMESTAMP '9999-12-31')
)
SELECT
    floor(volume_before / coalesce(getvariable('size')::DOUBLE, 100))::BIGINT AS bar,
    arg_min(traded_at, id) AS opened_at,
    arg_max(traded_at, id) AS closed_at,
    arg_min(price, id) AS open,
    max(price) AS high,
    min(price) AS low,
    arg_max(price, id) AS close,
    sum(qty ORDER BY id) AS volume,
    sum(price * qty ORDER BY id) AS quote_volume,
    min(id) AS first_id,
    max(id) AS last_id,
FROM running
GROUP BY bar
ORDER BY bar
