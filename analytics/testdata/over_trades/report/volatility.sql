-- volatility lists the symbols that traded in [window_start, window_end), with measures from the
-- closes of UTC minutes.
--
-- A minute without trades keeps the close before it and adds nothing. The first minute, and a
-- minute in which a gap in the ids ends, count from their open. Realized volatility is the square
-- root of the summed squared log returns: of the whole window, not of a year.
--
-- reads:   trades               from window_start
-- reads:   gaps                 all
-- param:   window_start         TIMESTAMP  UTC, inclusive
-- param:   window_end           TIMESTAMP  UTC, exclusive
-- column:  symbol               VARCHAR    as the exchange spells it
-- column:  traded_minutes       BIGINT     minutes with a trade
-- column:  range                DOUBLE     percent, >= 0, highest over lowest price
-- column:  realized_volatility  DOUBLE     percent, >= 0, over the window
-- column:  steepest_rise        DOUBLE     percent, largest return of a rising minute, 0 if none
--                                          rose
-- column:  steepest_rise_at     TIMESTAMP  UTC, start of that minute
-- column:  steepest_fall        DOUBLE     percent, largest return of a falling minute, 0 if none
--                                          fell
-- column:  steepest_fall_at     TIMESTAMP  UTC, start of that minute
-- column:  drawdown             DOUBLE     percent, <= 0, lowest close relative to the highest
--                                          before it
-- key:     symbol
WITH
symbol_minutes AS (
    SELECT
        symbol,
        date_trunc('minute', traded_at) AS minute,
        arg_min(price, id) AS open,
        max(price) AS high,
        min(price) AS low,
        arg_max(price, id) AS close,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, minute
),
gap_ends AS (
    SELECT DISTINCT
        symbol,
        date_trunc('minute', before_at) AS minute,
    FROM gaps
    WHERE before_at >= $window_start::TIMESTAMP
        AND before_at < $window_end::TIMESTAMP
),
minute_returns AS (
    SELECT
        symbol_minutes.symbol AS symbol,
        symbol_minutes.minute AS minute,
        high,
        low,
        close / nullif(
            coalesce(CASE WHEN gap_ends.minute IS NULL THEN lag(close) OVER minutes_before END, open),
            0
        ) AS ratio,
        close / nullif(max(close) OVER minutes_before, 0) AS peak_ratio,
    FROM symbol_minutes
    LEFT JOIN gap_ends USING (symbol, minute)
    WINDOW minutes_before AS (PARTITION BY symbol_minutes.symbol ORDER BY symbol_minutes.minute)
)
SELECT
    symbol,
    count(*) AS traded_minutes,
    (max(high) - min(low)) / nullif(min(low), 0) * 100 AS range,
    sqrt(sum(pow(ln(nullif(ratio, 0)), 2) ORDER BY minute)) * 100 AS realized_volatility,
    greatest(max(ratio) - 1, 0) * 100 AS steepest_rise,
    arg_max(minute, ratio ORDER BY minute) FILTER (WHERE ratio > 1) AS steepest_rise_at,
    least(min(ratio) - 1, 0) * 100 AS steepest_fall,
    arg_min(minute, ratio ORDER BY minute) FILTER (WHERE ratio < 1) AS steepest_fall_at,
    (min(peak_ratio) - 1) * 100 AS drawdown,
FROM minute_returns
GROUP BY symbol
ORDER BY symbol
