-- illiquidity lists the symbols that traded in [window_start, window_end): how far little money
-- moves the price, what a round trip costs, and how often nothing trades.
--
-- All measures use the closes of UTC minutes with trades. A minute in which a gap in the ids begins
-- or ends is left out, and so is the return over the gap. With fewer than min_minutes left, the
-- measures are NULL.
--
-- Amihud (2002) is the mean of a minute's absolute return over its quote_volume. Roll (1984) is 2 *
-- sqrt(-cov) of successive returns: prices that jump between bid and ask give returns that cancel
-- each other. If they do not (cov >= 0), the measure is NULL; a trend hides it. Minutes inside a
-- gap, before the first trade on the tape and after the last one are not recorded.
--
-- reads:   hour_returns      from window_start
-- reads:   gaps              all
-- reads:   bounds            all
-- param:   window_start      TIMESTAMP  UTC, inclusive
-- param:   window_end        TIMESTAMP  UTC, exclusive
-- param:   min_minutes       BIGINT     minutes with a return, >= 2; default 30
-- column:  symbol            VARCHAR    as the exchange spells it
-- column:  used_minutes      BIGINT     minutes whose return and volume were used
-- column:  amihud            DOUBLE     price change in percent per unit of quote asset traded, >=
--                                       0
-- column:  roll_spread       DOUBLE     percent, >= 0, of the price, estimated bid-ask spread
-- column:  recorded_minutes  BIGINT     minutes of the window that are on the tape
-- column:  empty_minutes     BIGINT     recorded minutes without a trade
-- column:  empty_share       DOUBLE     share of recorded minutes that are empty, 0 to 1
-- key:     symbol
WITH
hour_starts AS (
    SELECT
        symbol,
        hour,
        CASE
            WHEN NOT first_touches_gap THEN first_close / nullif(lag(last_close) OVER hours_before, 0) - 1
        END AS first_change,
        first_quote_volume,
        second_change,
        CASE WHEN minutes = 1 THEN first_change ELSE last_change END AS last_change,
    FROM hour_returns($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    WINDOW hours_before AS (PARTITION BY symbol ORDER BY hour)
),
-- The pairs that an hour does not have itself: its first two changes, each with the one before.
hour_edges AS (
    SELECT
        symbol,
        first_change,
        abs(first_change) / nullif(first_quote_volume, 0) AS first_cost,
        CASE WHEN first_change IS NOT NULL THEN lag(last_change) OVER hours_before END AS before_first,
        second_change,
        CASE WHEN second_change IS NOT NULL THEN first_change END AS before_second,
    FROM hour_starts
    WINDOW hours_before AS (PARTITION BY symbol ORDER BY hour)
),
symbol_edges AS (
    SELECT
        symbol,
        count(first_change) AS changes,
        count(first_cost) AS costs,
        coalesce(sum(try_cast(first_cost AS DECIMAL(38, 24))), 0) AS cost,
        count(before_first) + count(before_second) AS pairs,
        coalesce(sum(try_cast(first_change AS DECIMAL(38, 18))) FILTER (before_first IS NOT NULL), 0)
        + coalesce(sum(try_cast(second_change AS DECIMAL(38, 18))) FILTER (before_second IS NOT NULL), 0) AS pair_sum,
        coalesce(sum(try_cast(before_first AS DECIMAL(38, 18))), 0)
        + coalesce(sum(try_cast(before_second AS DECIMAL(38, 18))), 0) AS pair_sum_before,
        coalesce(sum(try_cast(first_change * before_first AS DECIMAL(38, 24))), 0)
        + coalesce(sum(try_cast(second_change * before_second AS DECIMAL(38, 24))), 0) AS pair_products,
    FROM hour_edges
    GROUP BY symbol
),
-- Sums that need no other hour are not carried through hour_starts, whose rows are all in memory.
symbol_hours AS (
    SELECT
        symbol,
        sum(minutes)::BIGINT AS traded_minutes,
        sum(changes)::BIGINT AS changes,
        sum(costs) AS costs,
        sum(cost) AS cost,
        sum(pairs)::BIGINT AS pairs,
        sum(pair_sum) AS pair_sum,
        sum(pair_sum_before) AS pair_sum_before,
        sum(pair_products) AS pair_products,
    FROM hour_returns($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    GROUP BY symbol
),
symbol_measures AS (
    SELECT
        symbol,
        traded_minutes,
        symbol_hours.changes + symbol_edges.changes AS used_minutes,
        (symbol_hours.cost + symbol_edges.cost)::DOUBLE / nullif(symbol_hours.costs + symbol_edges.costs, 0) AS amihud,
        symbol_hours.pairs + symbol_edges.pairs AS all_pairs,
        (
            (symbol_hours.pair_products + symbol_edges.pair_products)::DOUBLE
            - (symbol_hours.pair_sum + symbol_edges.pair_sum)::DOUBLE
            * (symbol_hours.pair_sum_before + symbol_edges.pair_sum_before)::DOUBLE
            / nullif(all_pairs, 0)
        ) / CASE WHEN all_pairs > 1 THEN all_pairs - 1 END AS covariance,
    FROM symbol_hours
    INNER JOIN symbol_edges USING (symbol)
),
gap_minutes AS (
    SELECT
        symbol,
        date_trunc('minute', after_at) AS begins,
        date_trunc('minute', before_at) AS ends,
    FROM gaps
    WHERE (before_at IS NULL OR before_at >= $window_start::TIMESTAMP)
        AND (after_at IS NULL OR after_at < $window_end::TIMESTAMP)
),
unrecorded_minutes AS (
    SELECT
        symbol,
        sum(
            greatest(
                date_diff(
                    'minute',
                    greatest(begins + INTERVAL 1 MINUTE, date_trunc('minute', $window_start::TIMESTAMP)),
                    least(ends, date_trunc('minute', $window_end::TIMESTAMP - INTERVAL 1 MICROSECOND) + INTERVAL 1 MINUTE)
                ),
                0
            )
        )::BIGINT AS minutes,
    FROM gap_minutes
    GROUP BY symbol
),
symbol_spans AS (
    SELECT
        symbol,
        date_diff(
            'minute',
            date_trunc('minute', greatest(first_at, $window_start::TIMESTAMP)),
            date_trunc('minute', least(last_at, $window_end::TIMESTAMP - INTERVAL 1 MICROSECOND))
        ) + 1 AS minutes,
    FROM bounds
)
SELECT
    symbol,
    used_minutes,
    CASE WHEN used_minutes >= $min_minutes::BIGINT THEN amihud * 100 END AS amihud,
    CASE
        WHEN used_minutes >= $min_minutes::BIGINT AND covariance < 0 THEN 2 * sqrt(-covariance) * 100
    END AS roll_spread,
    greatest(symbol_spans.minutes - coalesce(unrecorded_minutes.minutes, 0), traded_minutes) AS recorded_minutes,
    greatest(symbol_spans.minutes - coalesce(unrecorded_minutes.minutes, 0) - traded_minutes, 0) AS empty_minutes,
    empty_minutes::DOUBLE / nullif(recorded_minutes, 0) AS empty_share,
FROM symbol_measures
INNER JOIN symbol_spans USING (symbol)
LEFT JOIN unrecorded_minutes USING (symbol)
ORDER BY symbol
