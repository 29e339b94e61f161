-- hourly lists UTC hours in which a symbol traded in [window_start, window_end).
--
-- The first and the last hour count only trades in the window. An hour without trades has no row. With
-- step_hours, a row is several hours: steps begin at multiples of it from Monday 2000-01-03, and the
-- first one with the window. A report of more than ten days has rows of days, and of more than 400 days
-- rows of weeks.
--
-- reads:   hours            from window_start
-- param:   window_start     TIMESTAMP  UTC, inclusive
-- param:   window_end       TIMESTAMP  UTC, exclusive
-- param:   step_hours       BIGINT     hours, length of a step, >= 1; default 1
-- column:  symbol           VARCHAR    as the exchange spells it
-- column:  hour             TIMESTAMP  UTC, start of the step
-- column:  trades           BIGINT     raw trades
-- column:  open             DOUBLE     quote asset per base asset, price of the lowest id
-- column:  high             DOUBLE     quote asset per base asset, highest price
-- column:  low              DOUBLE     quote asset per base asset, lowest price
-- column:  close            DOUBLE     quote asset per base asset, price of the highest id
-- column:  change           DOUBLE     percent, close over open
-- column:  volume           DOUBLE     base asset, sum of qty
-- column:  quote_volume     DOUBLE     quote asset, sum of price times qty
-- column:  taker_buy_share  DOUBLE     share of quote_volume, 0 to 1, in which the taker bought
-- key:     symbol, hour
WITH
steps AS (
    SELECT
        symbol,
        greatest(
            time_bucket(to_hours($step_hours::BIGINT), hour, TIMESTAMP '2000-01-03'),
            date_trunc('hour', $window_start::TIMESTAMP)
        ) AS started_at,
        sum(trades)::BIGINT AS all_trades,
        arg_min(open, first_id) AS first_price,
        max(high) AS highest,
        min(low) AS lowest,
        arg_max(close, last_id) AS last_price,
        sum(volume)::DOUBLE AS all_volume,
        sum(quote_volume)::DOUBLE AS all_quote_volume,
        sum(buy_quote_volume)::DOUBLE AS all_buy_quote_volume,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    GROUP BY symbol, started_at
)
SELECT
    symbol,
    started_at AS hour,
    all_trades AS trades,
    first_price AS open,
    highest AS high,
    lowest AS low,
    last_price AS close,
    (last_price - first_price) / nullif(first_price, 0) * 100 AS change,
    all_volume AS volume,
    all_quote_volume AS quote_volume,
    all_buy_quote_volume / nullif(all_quote_volume, 0) AS taker_buy_share,
FROM steps
ORDER BY symbol, started_at
