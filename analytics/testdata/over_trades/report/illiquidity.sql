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
-- reads:   trades            from window_start
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
symbol_minutes AS (
    SELECT
        symbol,
        date_trunc('minute', traded_at) AS minute,
        arg_max(price, id) AS close,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE AS quote_volume,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, minute
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
broken_minutes AS (
    SELECT
        symbol,
        begins AS minute,
    FROM gap_minutes
    UNION
    SELECT
        symbol,
        ends AS minute,
    FROM gap_minutes
),
minute_returns AS (
    SELECT
        symbol_minutes.symbol AS symbol,
        symbol_minutes.minute AS minute,
        quote_volume,
        CASE
            WHEN broken_minutes.minute IS NULL THEN close / nullif(lag(close) OVER minutes_before, 0) - 1
        END AS change,
    FROM symbol_minutes
    LEFT JOIN broken_minutes USING (symbol, minute)
    WINDOW minutes_before AS (PARTITION BY symbol_minutes.symbol ORDER BY symbol_minutes.minute)
),
return_pairs AS (
    SELECT
        symbol,
        minute,
        quote_volume,
        change,
        lag(change) OVER minutes_before AS change_before,
    FROM minute_returns
    WINDOW minutes_before AS (PARTITION BY symbol ORDER BY minute)
),
symbol_measures AS (
    SELECT
        symbol,
        count(*) AS traded_minutes,
        count(change) AS used_minutes,
        avg(abs(change) / nullif(quote_volume, 0) ORDER BY minute) AS amihud,
        covar_samp(change, change_before ORDER BY minute) AS covariance,
    FROM return_pairs
    GROUP BY symbol
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
