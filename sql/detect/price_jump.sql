-- price_jump lists each minute at whose end the price had moved far within five minutes, up or
-- down.
--
-- The move is ln(last price / last price before the five minutes, at most 6 hours old). It must be
-- min_move, and min_rms times the root mean square of the moves in the 288 five-minute buckets of
-- the clock in the 24 hours before the full hour in which the five minutes begin. A bucket without
-- trades counts as 0, and the root mean square is at least rms_floor. Such moves have heavy tails:
-- a move of three standard deviations is common.
--
-- Needs min_minutes recorded minutes in those 24 hours and no missing ids back to the price
-- compared with; otherwise the minute is not judged. A minute with missing ids, and the one in
-- which the record of a symbol begins, do not count as recorded.
--
-- Limits: for prices so low that one tick is several percent, and for thin pairs, the jump between
-- bid and ask is enough. On thin alt/BTC pairs from 2018 to 2021, with a sliding baseline: 0.06
-- alerts per symbol and day. One symbol-day in 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes       from 1863 minutes before window_start
-- param:    window_start  TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end    TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_move      DOUBLE     ln of the ratio of prices, up or down; default 0.03
-- param:    min_rms       DOUBLE     usual five-minute moves; default 15
-- param:    rms_floor     DOUBLE     ln of the ratio of prices, > 0; default 0.001
-- param:    min_orders    BIGINT     taker orders in the five minutes; default 10
-- param:    min_minutes   BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_rms    DOUBLE     usual five-minute moves for medium severity; default 21
-- param:    high_rms      DOUBLE     usual five-minute moves for high severity; default 26
-- column:   symbol        VARCHAR    as the exchange spells it
-- column:   at            TIMESTAMP  UTC, end of the five minutes: known from then on
-- column:   score         DOUBLE     the move in usual five-minute moves, up or down
-- column:   severity      VARCHAR    low, medium or high
-- column:   message       VARCHAR    one sentence
-- column:   first_id      BIGINT     first trade of the five minutes
-- column:   last_id       BIGINT     last trade of the five minutes
-- column:   move          DOUBLE     last price over the one before the five minutes, less 1
-- column:   reference     DOUBLE     quote asset per base asset, the price before the five minutes
-- column:   close         DOUBLE     quote asset per base asset, the last price
-- key:      symbol, at
-- needs:    whole    5 minutes
-- needs:    price    5 minutes before
-- needs:    history  min_minutes of 24 hours before the full hour, by 5 minutes
-- threshold: min_rms
-- cooldown: 30 minutes
WITH trailing_sums AS (
    SELECT
        symbol,
        minute,
        close,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 4 MINUTES) AS hour,
        sum(buy_orders + sell_orders) OVER five_minutes AS orders,
        min(first_id) OVER five_minutes AS first_id,
        max(last_id) OVER five_minutes AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW
        five_minutes AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 4 MINUTES PRECEDING AND CURRENT ROW
        )
),

priced_minutes AS (
    SELECT
        symbol,
        minute,
        close,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 364 MINUTES
        AND close IS NOT NULL
),

unrecorded_minutes AS (
    SELECT
        symbol,
        minute,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 364 MINUTES
        AND NOT is_recorded
),

judged_minutes AS (
    SELECT
        trailing_sums.symbol,
        trailing_sums.minute,
        trailing_sums.close,
        recorded_from,
        hour,
        priced_minutes.close AS reference,
        first_id,
        last_id,
        ln(trailing_sums.close / nullif(reference, 0)) AS move,
    FROM trailing_sums
    ASOF JOIN priced_minutes
        ON
            trailing_sums.symbol = priced_minutes.symbol
            AND trailing_sums.minute - INTERVAL 5 MINUTES >= priced_minutes.minute
    ASOF LEFT JOIN unrecorded_minutes
        ON
            trailing_sums.symbol = unrecorded_minutes.symbol
            AND trailing_sums.minute >= unrecorded_minutes.minute
    WHERE
        trailing_sums.minute >= $window_start::TIMESTAMP
        AND trailing_sums.close IS NOT NULL
        AND priced_minutes.minute >= trailing_sums.minute - INTERVAL 364 MINUTES
        AND priced_minutes.minute > coalesce(unrecorded_minutes.minute, TIMESTAMP '1970-01-01')
        AND orders >= $min_orders::BIGINT
        AND abs(move) >= $min_move::DOUBLE
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        close,
        reference,
        abs(move) / greatest(rms_move, $rms_floor::DOUBLE) AS score,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN move_baselines(
        judged := 'judged_minutes',
        since := $window_start::TIMESTAMP - INTERVAL 1863 MINUTES,
        until := $window_end::TIMESTAMP
    ) USING (symbol, hour)
    WHERE recorded_buckets >= greatest($min_minutes::BIGINT / 5, 1)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(score, 2) AS score,
    severity_of(score, $medium_rms::DOUBLE, $high_rms::DOUBLE) AS severity,
    format(
        '{:+.1f} % in five minutes ({:.0f} times the usual move), until {}',
        100 * (close / reference - 1),
        score,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    round(close / reference - 1, 6) AS move,
    reference,
    close,
FROM scored_minutes
WHERE score >= $min_rms::DOUBLE
ORDER BY
    symbol,
    minute
