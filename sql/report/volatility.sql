-- volatility lists the symbols that traded in [window_start, window_end), with measures from the
-- closes of UTC minutes.
--
-- A minute without trades keeps the close before it and adds nothing. The first minute, and a
-- minute in which a gap in the ids ends, count from their open. Realized volatility is the square
-- root of the summed squared log returns: of the whole window, not of a year.
--
-- reads:   hours                from window_start
-- reads:   hour_returns         from window_start
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
linked_hours AS (
    SELECT
        symbol,
        minutes,
        first_minute,
        first_close / nullif(
            coalesce(CASE WHEN NOT first_ends_gap THEN lag(last_close) OVER hours_before END, first_open),
            0
        ) AS first_ratio,
        squares,
        highest_ratio,
        highest_ratio_at,
        lowest_ratio,
        lowest_ratio_at,
        least(
            lowest_peak_ratio,
            lowest_close / nullif(max(highest_close) OVER (hours_before ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0)
        ) AS peak_ratio,
    FROM hour_returns($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    WINDOW hours_before AS (PARTITION BY symbol ORDER BY hour)
),
symbol_hours AS (
    SELECT
        symbol,
        sum(minutes)::BIGINT AS traded_minutes,
        sum(squares) + coalesce(sum(pow(ln(nullif(first_ratio, 0)), 2)::DECIMAL(38, 24)), 0) AS squares,
        count(first_ratio) + count(highest_ratio) AS ratios,
        min(peak_ratio) AS peak_ratio,
    FROM linked_hours
    GROUP BY symbol
),
extremes AS (
    SELECT
        symbol,
        first_minute AS minute,
        first_ratio AS ratio,
    FROM linked_hours
    UNION ALL
    SELECT
        symbol,
        highest_ratio_at AS minute,
        highest_ratio AS ratio,
    FROM linked_hours
    UNION ALL
    SELECT
        symbol,
        lowest_ratio_at AS minute,
        lowest_ratio AS ratio,
    FROM linked_hours
),
symbol_extremes AS (
    SELECT
        symbol,
        greatest(max(ratio) - 1, 0) * 100 AS steepest_rise,
        arg_max(minute, ratio ORDER BY minute) FILTER (WHERE ratio > 1) AS steepest_rise_at,
        least(min(ratio) - 1, 0) * 100 AS steepest_fall,
        arg_min(minute, ratio ORDER BY minute) FILTER (WHERE ratio < 1) AS steepest_fall_at,
    FROM extremes
    GROUP BY symbol
),
symbol_prices AS (
    SELECT
        symbol,
        max(high) AS high,
        min(low) AS low,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    GROUP BY symbol
)
SELECT
    symbol,
    traded_minutes,
    (high - low) / nullif(low, 0) * 100 AS range,
    CASE WHEN ratios > 0 THEN sqrt(squares::DOUBLE) * 100 END AS realized_volatility,
    steepest_rise,
    steepest_rise_at,
    steepest_fall,
    steepest_fall_at,
    (peak_ratio - 1) * 100 AS drawdown,
FROM symbol_hours
INNER JOIN symbol_extremes USING (symbol)
INNER JOIN symbol_prices USING (symbol)
ORDER BY symbol
