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
-- What needs the hour before is by itself, because all rows of a window function are in memory. So are those
-- of an ordered aggregate; a struct decides which of two equal ratios counts, the earlier.
linked_hours AS (
    SELECT
        symbol,
        first_minute,
        first_close / nullif(
            coalesce(CASE WHEN NOT first_ends_gap THEN lag(last_close) OVER hours_before END, first_open),
            0
        ) AS ratio,
        lowest_close
        / nullif(max(highest_close) OVER (hours_before ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS peak_ratio,
    FROM hour_returns($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    WINDOW hours_before AS (PARTITION BY symbol ORDER BY hour)
),
symbol_parts AS (
    SELECT
        symbol,
        0 AS minutes,
        coalesce(sum(pow(ln(nullif(ratio, 0)), 2)::DECIMAL(38, 24)), 0) AS squares,
        count(ratio) AS ratios,
        max({'ratio': ratio, 'earlier': -epoch_us(first_minute)}) FILTER (WHERE ratio IS NOT NULL) AS highest,
        min({'ratio': ratio, 'since': epoch_us(first_minute)}) FILTER (WHERE ratio IS NOT NULL) AS lowest,
        min(peak_ratio) AS peak_ratio,
    FROM linked_hours
    GROUP BY symbol
    UNION ALL
    SELECT
        symbol,
        sum(minutes) AS minutes,
        sum(squares) AS squares,
        count(highest_ratio) AS ratios,
        max({'ratio': highest_ratio, 'earlier': -epoch_us(highest_ratio_at)}) FILTER (WHERE highest_ratio IS NOT NULL) AS highest,
        min({'ratio': lowest_ratio, 'since': epoch_us(lowest_ratio_at)}) FILTER (WHERE lowest_ratio IS NOT NULL) AS lowest,
        min(lowest_peak_ratio) AS peak_ratio,
    FROM hour_returns($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    GROUP BY symbol
),
symbol_hours AS (
    SELECT
        symbol,
        sum(minutes)::BIGINT AS traded_minutes,
        sum(squares) AS squares,
        sum(ratios) AS ratios,
        max(highest) FILTER (WHERE highest IS NOT NULL) AS highest,
        min(lowest) FILTER (WHERE lowest IS NOT NULL) AS lowest,
        min(peak_ratio) AS peak_ratio,
    FROM symbol_parts
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
    greatest(highest.ratio - 1, 0) * 100 AS steepest_rise,
    CASE WHEN highest.ratio > 1 THEN make_timestamp(-highest.earlier) END AS steepest_rise_at,
    least(lowest.ratio - 1, 0) * 100 AS steepest_fall,
    CASE WHEN lowest.ratio < 1 THEN make_timestamp(lowest.since) END AS steepest_fall_at,
    (peak_ratio - 1) * 100 AS drawdown,
FROM symbol_hours
INNER JOIN symbol_prices USING (symbol)
ORDER BY symbol
