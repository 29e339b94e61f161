-- pump_burst lists the minutes, one ending each quarter of a minute, in which rush buys (taker buys that swept two or more prices at once) stand far
-- above those of the day before while the price rises: the start of a pump.
--
-- A rush buy is one taker's order that bought at two or more different prices: all buys of a symbol in one millisecond. That counts
-- the same in both feeds. z is (rush buys of the minute - mean) / sd, over the recorded minutes of 24 hours, a minute without trades
-- being 0, and sd at least sd_floor. Those 24 hours end before the clock minute before the one in which the judged minute ends, so that they have no
-- part in what is judged. The rise counts from the last price before the judged minute. Two rules, either is enough: many rush buys and a rise (the main rule),
-- or fewer with a strong rise (for symbols with few traders; its severity is always low).
--
-- Needs min_minutes recorded minutes in those 24 hours, a price in them, and an unbroken record from it to the end of the clock minute;
-- otherwise it is not judged. A minute in which ids are missing, and the one in which a symbol's record begins, do not
-- count as recorded.
-- Fails on: pumps with very few participants, and slow ones;
-- a day after a pump it is less sensitive, for sd has grown.
-- Rule after La Morgia et al. 2020 (rush orders). Measured on 101 pumps of alt/BTC pairs of 2018 to 2020: precision 0.98, recall 0.94, F1 0.96,
-- 0.029 alarms a symbol and day without a known pump, half of the pumps within 15 s of their beginning (make pump-score). The thresholds stand in
-- the middle of a region in which each may be moved by a fifth without F1 falling under 0.94. Medium and high are the scores of one symbol-day in 50 and in 100.
--
-- reads:    minutes          from 1441 minutes before window_start
-- reads:    trades           from 1 minute before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_rush_buys    BIGINT     rush buys a minute, main rule; default 12
-- param:    min_z            DOUBLE     standard deviations, main rule; default 35
-- param:    min_rise         DOUBLE     highest price of the minute over the last before it, less 1, main rule; default 0.04
-- param:    thin_rush_buys   BIGINT     rush buys a minute, second rule; default 6
-- param:    thin_z           DOUBLE     standard deviations, second rule; default 20
-- param:    thin_rise        DOUBLE     as min_rise, second rule; default 0.10
-- param:    sd_floor         DOUBLE     rush buys a minute, > 0; default 0.3
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
-- column:   rush_buys        BIGINT     rush buys in the minute
-- column:   mean_rush_buys   DOUBLE     rush buys a minute in the 24 hours before
-- column:   rise             DOUBLE     highest price of the minute over the last before it, less 1
-- column:   close            DOUBLE     last price of the minute, quote asset per base asset
-- key:      symbol, at
-- threshold: min_z
-- cooldown: 30 minutes
-- Only where two clock minutes together have enough rush buys can a minute across them have. Symbols without any are left out, for what
-- follows looks at a day.
WITH paired_minutes AS (
    SELECT
        symbol,
        minute,
        sum(rush_buys) OVER (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 1 MINUTE PRECEDING AND CURRENT ROW
        ) AS rush_buys_of_two,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1 MINUTE
        AND minute < $window_end::TIMESTAMP
),

busy_minutes AS (
    SELECT
        symbol,
        minute,
        rush_buys_of_two,
    FROM paired_minutes
    WHERE
        minute >= $window_start::TIMESTAMP
        AND rush_buys_of_two >= least($min_rush_buys::BIGINT, $thin_rush_buys::BIGINT)
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
        coalesce(sum(rush_buys) FILTER (is_recorded) OVER day_before, 0) AS rush_sum,
        coalesce(sum(rush_buys * rush_buys) FILTER (is_recorded) OVER day_before, 0) AS rush_square_sum,
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
        rush_buys_of_two,
        rush_sum / recorded_minutes AS mean_rush_buys,
        greatest(
            sqrt(greatest(rush_square_sum / recorded_minutes - (rush_sum / recorded_minutes) ** 2, 0)),
            $sd_floor::DOUBLE
        ) AS sd_rush_buys,
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
        mean_rush_buys,
        sd_rush_buys,
    FROM judged_minutes
    WHERE rush_buys_of_two - mean_rush_buys >= least($min_z::DOUBLE, $thin_z::DOUBLE) * sd_rush_buys
),

orders AS (
    SELECT
        trades.symbol,
        minute,
        date_trunc('millisecond', traded_at) AS ordered_at,
        NOT is_buyer_maker AND min(price) < max(price) AS is_rush,
        max(price) AS high,
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
        mean_rush_buys,
        sd_rush_buys,
        unnest(generate_series(minute + INTERVAL 15 SECONDS, minute + INTERVAL 1 MINUTE, INTERVAL 15 SECONDS)) AS ended_at,
    FROM likely_minutes
),

ended_orders AS (
    SELECT
        symbol,
        ended_at,
        ends.reference,
        mean_rush_buys,
        sd_rush_buys,
        ordered_at >= ended_at - INTERVAL 1 MINUTE AS is_inside,
        is_rush,
        high,
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
        count(*) FILTER (is_rush AND is_inside) AS rush_buys,
        any_value(mean_rush_buys) AS mean_rush_buys,
        (rush_buys - any_value(mean_rush_buys)) / any_value(sd_rush_buys) AS z,
        coalesce(arg_max(close, last_id) FILTER (NOT is_inside), any_value(reference)) AS last_before,
        max(high) FILTER (is_inside) / nullif(last_before, 0) - 1 AS rise,
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
        rush_buys,
        mean_rush_buys,
        z,
        rise,
        close,
        first_id,
        last_id,
        rush_buys >= $min_rush_buys::BIGINT AND z >= $min_z::DOUBLE AND rise >= $min_rise::DOUBLE AS is_main,
        rush_buys >= $thin_rush_buys::BIGINT AND z >= $thin_z::DOUBLE AND rise >= $thin_rise::DOUBLE AS is_thin,
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
        'rush buys {} a minute (z {:.0f}), {:+.1f} % in the minute to {}',
        rush_buys,
        z,
        100 * rise,
        strftime(ended_at, '%H:%M:%S')
    ) AS message,
    first_id,
    last_id,
    rush_buys,
    round(mean_rush_buys, 4) AS mean_rush_buys,
    round(rise, 6) AS rise,
    close,
FROM found_minutes
WHERE
    is_main
    OR is_thin
ORDER BY
    symbol,
    ended_at
