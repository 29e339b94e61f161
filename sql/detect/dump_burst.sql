-- dump_burst lists the minutes, one ending each quarter of a minute, in which rush sells (taker sells that swept two or more prices at once) stand far
-- above those of the day before while the price falls: holders who all leave at once.
--
-- A rush sell is one taker's order that sold at two or more different prices: all sells of a symbol in one millisecond. That counts
-- the same in both feeds. z is (rush sells of the minute - mean) / sd, over the recorded minutes of 24 hours, a minute without trades
-- being 0, and sd at least sd_floor. Those 24 hours end before the clock minute before the one in which the judged minute ends, so that they have no
-- part in what is judged. The fall counts from the last price before the judged minute. Two rules, either is enough: many rush sells and a fall (the main rule),
-- or fewer with a strong fall (for symbols with few traders; its severity is always low).
--
-- Needs min_minutes recorded minutes in those 24 hours, a price in them, and an unbroken record from it to the end of the clock minute;
-- otherwise it is not judged. A minute in which ids are missing, and the one in which a symbol's record begins, do not
-- count as recorded.
-- Fails on: a sale that nobody joins, and slow ones; a cascade of stop orders looks the same;
-- a day after a dump it is less sensitive, for sd has grown.
-- The mirror of pump_burst, with the thresholds measured there; sells have no labelled events to measure on.
--
-- reads:    minutes          from 1441 minutes before window_start
-- reads:    trades           from 1 minute before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_rush_sells   BIGINT     rush sells a minute, main rule; default 12
-- param:    min_z            DOUBLE     standard deviations, main rule; default 35
-- param:    min_fall         DOUBLE     1 less lowest price of the minute over the last before it, main rule; default 0.04
-- param:    thin_rush_sells  BIGINT     rush sells a minute, second rule; default 6
-- param:    thin_z           DOUBLE     standard deviations, second rule; default 20
-- param:    thin_fall        DOUBLE     as min_fall, second rule; default 0.10
-- param:    sd_floor         DOUBLE     rush sells a minute, > 0; default 0.3
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_z         DOUBLE     standard deviations, from here on severity is medium; default 47
-- param:    high_z           DOUBLE     standard deviations, from here on severity is high; default 59
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the minute: from then on it could be known
-- column:   score            DOUBLE     z, standard deviations
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the minute
-- column:   last_id          BIGINT     last trade of the minute
-- column:   rush_sells       BIGINT     rush sells in the minute
-- column:   mean_rush_sells  DOUBLE     rush sells a minute in the 24 hours before
-- column:   fall             DOUBLE     1 less lowest price of the minute over the last before it
-- column:   close            DOUBLE     last price of the minute, quote asset per base asset
-- key:      symbol, at
-- threshold: min_z
-- cooldown: 30 minutes
-- Only where two clock minutes together have enough rush sells can a minute across them have. Symbols without any are left out, for what
-- follows looks at a day.
WITH paired_minutes AS (
    SELECT
        symbol,
        minute,
        sum(rush_sells) OVER (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND CURRENT ROW
        ) AS rush_sells_of_two,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1 MINUTE
        AND minute < $window_end::TIMESTAMP
),

busy_minutes AS (
    SELECT
        symbol,
        minute,
        rush_sells_of_two,
    FROM paired_minutes
    WHERE
        minute >= $window_start::TIMESTAMP
        AND rush_sells_of_two >= least($min_rush_sells::BIGINT, $thin_rush_sells::BIGINT)
),

compared_minutes AS (
    SELECT
        symbol,
        minute,
        is_recorded,
        last_value(close IGNORE NULLS) OVER day_before AS reference,
        max(minute) FILTER (close IS NOT NULL) OVER day_before AS reference_minute,
        max(minute) FILTER (NOT is_recorded) OVER up_to_here AS last_unrecorded,
        date_diff('minute', greatest(minute - INTERVAL 1441 MINUTES, recorded_from), minute - INTERVAL 1 MINUTE)
        - count(*) FILTER (NOT is_recorded AND minute >= recorded_from) OVER day_before AS recorded_minutes,
        coalesce(sum(rush_sells) FILTER (is_recorded) OVER day_before, 0) AS rush_sum,
        coalesce(sum(rush_sells * rush_sells) FILTER (is_recorded) OVER day_before, 0) AS rush_square_sum,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1441 MINUTES
        AND symbol IN (SELECT symbol FROM busy_minutes)
    WINDOW
        up_to_here AS (PARTITION BY symbol ORDER BY minute),
        day_before AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 1441 MINUTES PRECEDING AND INTERVAL 2 MINUTES PRECEDING
        )
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        reference,
        rush_sells_of_two,
        rush_sum / recorded_minutes AS mean_rush_sells,
        greatest(
            sqrt(greatest(rush_square_sum / recorded_minutes - (rush_sum / recorded_minutes) ** 2, 0)),
            $sd_floor::DOUBLE
        ) AS sd_rush_sells,
    FROM compared_minutes
    JOIN busy_minutes USING (symbol, minute)
    WHERE
        is_recorded
        AND reference_minute > coalesce(last_unrecorded, TIMESTAMP '1970-01-01')
        AND recorded_minutes >= greatest($min_minutes::BIGINT, 1)
),

likely_minutes AS (
    SELECT
        symbol,
        minute,
        reference,
        mean_rush_sells,
        sd_rush_sells,
    FROM judged_minutes
    WHERE rush_sells_of_two - mean_rush_sells >= least($min_z::DOUBLE, $thin_z::DOUBLE) * sd_rush_sells
),

orders AS (
    SELECT
        trades.symbol,
        minute,
        date_trunc('millisecond', traded_at) AS ordered_at,
        is_buyer_maker AND min(price) < max(price) AS is_rush,
        min(price) AS low,
        arg_max(price, id) AS close,
        min(id) AS first_id,
        max(id) AS last_id,
    FROM trades
    JOIN likely_minutes
        ON
            trades.symbol = likely_minutes.symbol
            AND date_trunc('minute', traded_at) IN (minute - INTERVAL 1 MINUTE, minute)
    WHERE traded_at >= $window_start::TIMESTAMP - INTERVAL 1 MINUTE
    GROUP BY
        trades.symbol,
        minute,
        ordered_at,
        is_buyer_maker,
),

ends AS (
    SELECT
        symbol,
        minute,
        reference,
        mean_rush_sells,
        sd_rush_sells,
        unnest(generate_series(minute + INTERVAL 15 SECONDS, minute + INTERVAL 1 MINUTE, INTERVAL 15 SECONDS)) AS ended_at,
    FROM likely_minutes
),

ended_orders AS (
    SELECT
        symbol,
        ended_at,
        ends.reference,
        mean_rush_sells,
        sd_rush_sells,
        ordered_at >= ended_at - INTERVAL 1 MINUTE AS is_inside,
        is_rush,
        low,
        close,
        first_id,
        last_id,
    FROM ends
    JOIN orders USING (symbol, minute)
    WHERE ordered_at < ended_at
),

scored_minutes AS (
    SELECT
        symbol,
        ended_at,
        count(*) FILTER (is_rush AND is_inside) AS rush_sells,
        any_value(mean_rush_sells) AS mean_rush_sells,
        (rush_sells - any_value(mean_rush_sells)) / any_value(sd_rush_sells) AS z,
        coalesce(arg_max(close, last_id) FILTER (NOT is_inside), any_value(reference)) AS last_before,
        1 - min(low) FILTER (is_inside) / nullif(last_before, 0) AS fall,
        arg_max(close, last_id) AS close,
        min(first_id) FILTER (is_inside) AS first_id,
        max(last_id) FILTER (is_inside) AS last_id,
    FROM ended_orders
    GROUP BY
        symbol,
        ended_at,
),

found_minutes AS (
    SELECT
        symbol,
        ended_at,
        rush_sells,
        mean_rush_sells,
        z,
        fall,
        close,
        first_id,
        last_id,
        rush_sells >= $min_rush_sells::BIGINT AND z >= $min_z::DOUBLE AND fall >= $min_fall::DOUBLE AS is_main,
        rush_sells >= $thin_rush_sells::BIGINT AND z >= $thin_z::DOUBLE AND fall >= $thin_fall::DOUBLE AS is_thin,
    FROM scored_minutes
)

SELECT
    symbol,
    ended_at AS at,
    round(z, 2) AS score,
    CASE
        WHEN NOT is_main THEN 'low'
        WHEN z >= $high_z::DOUBLE THEN 'high'
        WHEN z >= $medium_z::DOUBLE THEN 'medium'
        ELSE 'low'
    END AS severity,
    format(
        'rush sells {} a minute (z {:.0f}), {:+.1f} % in the minute to {}',
        rush_sells,
        z,
        -100 * fall,
        strftime(ended_at, '%H:%M:%S')
    ) AS message,
    first_id,
    last_id,
    rush_sells,
    round(mean_rush_sells, 4) AS mean_rush_sells,
    round(fall, 6) AS fall,
    close,
FROM found_minutes
WHERE
    is_main
    OR is_thin
ORDER BY
    symbol,
    ended_at
