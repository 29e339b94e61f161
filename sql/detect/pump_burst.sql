-- pump_burst lists minutes with far more rush buys than on the day before while the price rises:
-- the start of a pump.
--
-- A rush buy is a taker order that bought at two or more prices: all buys of a symbol in one
-- millisecond. It counts the same in both feeds. The judged minutes are 60 seconds long, and one
-- ends every 15 seconds. z is (rush buys - mean) / standard deviation, over the recorded minutes of
-- a 24-hour baseline. A minute without trades counts as 0, and the deviation is at least sd_floor.
-- The baseline ends one clock minute before the clock minute in which the judged minute ends. The
-- rise counts from the last price before the judged minute. Either of two rules is enough: many
-- rush buys and a rise (main rule), or fewer with a strong rise (second rule, for symbols with few
-- traders; its severity is always low).
--
-- Needs min_minutes recorded minutes and a price in the baseline, and no missing ids from that
-- price to the end of the clock minute; otherwise the minute is not judged. A minute with missing
-- ids, and the one in which the record of a symbol begins, do not count as recorded.
--
-- Its baseline is made of minutes. It reads the trades of the few minutes found, not summaries:
-- an interval of 60 seconds begins within a minute.
--
-- Limits: it misses slow pumps and pumps with few participants. For a day after a pump it is less
-- sensitive, because the deviation is larger. The rule follows La Morgia et al. 2020 (rush orders).
-- On 101 pumps of alt/BTC pairs from 2018 to 2020: precision 0.98, recall 0.94, F1 0.96, 0.029
-- alerts per symbol and day without a known pump, half of the pumps found within 15 s (make
-- pump-score). Any one threshold can move by a fifth before F1 falls below 0.94. One symbol-day in
-- 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes         from 1441 minutes before window_start
-- reads:    trades          from 1 minute before window_start
-- param:    window_start    TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end      TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_rush_buys   BIGINT     rush buys in the minute, main rule; default 12
-- param:    min_z           DOUBLE     standard deviations, main rule; default 35
-- param:    min_rise        DOUBLE     rise as a fraction of the price, main rule; default 0.04
-- param:    thin_rush_buys  BIGINT     rush buys in the minute, second rule; default 6
-- param:    thin_z          DOUBLE     standard deviations, second rule; default 20
-- param:    thin_rise       DOUBLE     rise as a fraction of the price, second rule; default 0.10
-- param:    sd_floor        DOUBLE     rush buys per minute, > 0; default 0.3
-- param:    min_minutes     BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_z        DOUBLE     standard deviations for medium severity; default 47
-- param:    high_z          DOUBLE     standard deviations for high severity; default 59
-- column:   symbol          VARCHAR    as the exchange spells it
-- column:   at              TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score           DOUBLE     z, standard deviations
-- column:   severity        VARCHAR    low, medium or high
-- column:   message         VARCHAR    one sentence
-- column:   first_id        BIGINT     first trade of the minute
-- column:   last_id         BIGINT     last trade of the minute
-- column:   rush_buys       BIGINT     rush buys in the minute
-- column:   mean_rush_buys  DOUBLE     rush buys per minute in the baseline
-- column:   rise            DOUBLE     highest price of the minute over the last price before it,
--                                      less 1
-- column:   close           DOUBLE     quote asset per base asset, last price of the minute
-- key:      symbol, at
-- needs:    whole    2 minutes
-- needs:    price    2 minutes before
-- needs:    history  min_minutes of 24 hours before them
-- threshold: min_z
-- cooldown: 30 minutes
WITH scored_minutes AS (
    SELECT
        symbol,
        ended_at,
        rush_orders AS rush_buys,
        mean_rush_orders AS mean_rush_buys,
        z,
        high / nullif(price_before, 0) - 1 AS rise,
        close,
        first_id,
        last_id,
        rush_buys >= $min_rush_buys::BIGINT AND z >= $min_z::DOUBLE AND rise >= $min_rise::DOUBLE AS is_main,
        rush_buys >= $thin_rush_buys::BIGINT AND z >= $thin_z::DOUBLE AND rise >= $thin_rise::DOUBLE AS is_thin,
    FROM rush_minutes(
        takers_sold := false,
        window_start := $window_start::TIMESTAMP,
        window_end := $window_end::TIMESTAMP,
        min_orders := least($min_rush_buys::BIGINT, $thin_rush_buys::BIGINT),
        min_z := least($min_z::DOUBLE, $thin_z::DOUBLE),
        sd_floor := $sd_floor::DOUBLE,
        min_minutes := $min_minutes::BIGINT
    )
)

SELECT
    symbol,
    ended_at AS at,
    round(z, 2) AS score,
    CASE WHEN is_main THEN severity_of(z, $medium_z::DOUBLE, $high_z::DOUBLE) ELSE 'low' END AS severity,
    format(
        '{} rush buys in a minute (z {:.0f}), price {:+.1f} %, minute ending {}',
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
FROM scored_minutes
WHERE
    is_main
    OR is_thin
ORDER BY
    symbol,
    ended_at
