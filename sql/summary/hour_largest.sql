-- hour_largest lists the five largest rows of each symbol and UTC hour, by price times qty.
--
-- Of equal rows the earlier comes first.
--
-- reads:   trades          all
-- column:  symbol          VARCHAR         as the exchange spells it
-- column:  hour            TIMESTAMP       UTC, start of the hour
-- column:  rank            BIGINT          1 is the largest, at most 5
-- column:  id              BIGINT          the feed's own sequence
-- column:  traded_at       TIMESTAMP       UTC, when it matched
-- column:  price           DOUBLE          quote asset per base asset
-- column:  qty             DOUBLE          base asset
-- column:  quote_qty       DECIMAL(38,16)  quote asset, price times qty
-- column:  is_buyer_maker  BOOLEAN         true if the taker sold
-- key:     symbol, hour, rank
WITH
hour_tops AS (
    SELECT
        symbol,
        date_trunc('hour', traded_at) AS hour,
        max(
            {
                'quote_qty': price::DECIMAL(38, 8) * qty::DECIMAL(38, 8),
                'earlier': -id,
                'price': price,
                'qty': qty,
                'traded_at': traded_at,
                'is_buyer_maker': is_buyer_maker,
            },
            5
        ) AS tops,
    FROM trades
    GROUP BY symbol, hour
),
ranked_trades AS (
    SELECT
        symbol,
        hour,
        unnest(range(1, len(tops) + 1)) AS rank,
        unnest(tops) AS trade,
    FROM hour_tops
)
SELECT
    symbol,
    hour,
    rank,
    -trade.earlier AS id,
    trade.traded_at AS traded_at,
    trade.price AS price,
    trade.qty AS qty,
    trade.quote_qty AS quote_qty,
    trade.is_buyer_maker AS is_buyer_maker,
FROM ranked_trades
ORDER BY symbol, hour, rank
