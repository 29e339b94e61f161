-- dump_burst lists minutes with far more rush sells than on the day before while the price falls:
-- holders leave all together.
--
-- A rush sell is a taker order that sold at two or more prices: all sells of a symbol in one
-- millisecond. It counts the same in both feeds. The judged minutes are 60 seconds long, and one
-- ends every 15 seconds. z is (rush sells - mean) / standard deviation, over the recorded minutes
-- of a 24-hour baseline. A minute without trades counts as 0, and the deviation is at least
-- sd_floor. The baseline ends one clock minute before the clock minute in which the judged minute
-- ends. The fall counts from the last price before the judged minute. Either of two rules is
-- enough: many rush sells and a fall (main rule), or fewer with a strong fall (second rule, for
-- symbols with few traders; its severity is always low).
--
-- Needs min_minutes recorded minutes and a price in the baseline, and no missing ids from that
-- price to the end of the clock minute; otherwise the minute is not judged. A minute with missing
-- ids, and the one in which the record of a symbol begins, do not count as recorded.
--
-- Its baseline is made of minutes. It reads the trades of the few minutes found, not summaries:
-- an interval of 60 seconds begins within a minute.
--
-- Limits: it misses slow sales and the sale of a single holder. A cascade of stop orders looks the
-- same as a dump. For a day after a dump it is less sensitive, because the deviation is larger. It
-- mirrors pump_burst and takes over the thresholds measured there; no labelled dumps exist to
-- measure on.
--
-- reads:    minutes          from 1441 minutes before window_start
-- reads:    trades           from 1 minute before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_rush_sells   BIGINT     rush sells in the minute, main rule; default 12
-- param:    min_z            DOUBLE     standard deviations, main rule; default 35
-- param:    min_fall         DOUBLE     fall as a fraction of the price, main rule; default 0.04
-- param:    thin_rush_sells  BIGINT     rush sells in the minute, second rule; default 6
-- param:    thin_z           DOUBLE     standard deviations, second rule; default 20
-- param:    thin_fall        DOUBLE     fall as a fraction of the price, second rule; default 0.10
-- param:    sd_floor         DOUBLE     rush sells per minute, > 0; default 0.3
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_z         DOUBLE     standard deviations for medium severity; default 47
-- param:    high_z           DOUBLE     standard deviations for high severity; default 59
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score            DOUBLE     z, standard deviations
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the minute
-- column:   last_id          BIGINT     last trade of the minute
-- column:   rush_sells       BIGINT     rush sells in the minute
-- column:   mean_rush_sells  DOUBLE     rush sells per minute in the baseline
-- column:   fall             DOUBLE     1 less the lowest price of the minute over the last price
--                                       before it
-- column:   close            DOUBLE     quote asset per base asset, last price of the minute
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
        rush_orders AS rush_sells,
        mean_rush_orders AS mean_rush_sells,
        z,
        1 - low / nullif(price_before, 0) AS fall,
        close,
        first_id,
        last_id,
        rush_sells >= $min_rush_sells::BIGINT AND z >= $min_z::DOUBLE AND fall >= $min_fall::DOUBLE AS is_main,
        rush_sells >= $thin_rush_sells::BIGINT AND z >= $thin_z::DOUBLE AND fall >= $thin_fall::DOUBLE AS is_thin,
    FROM rush_minutes(
        takers_sold := true,
        window_start := $window_start::TIMESTAMP,
        window_end := $window_end::TIMESTAMP,
        min_orders := least($min_rush_sells::BIGINT, $thin_rush_sells::BIGINT),
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
        '{} rush sells in a minute (z {:.0f}), price {:+.1f} %, minute ending {}',
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
FROM scored_minutes
WHERE
    is_main
    OR is_thin
ORDER BY
    symbol,
    ended_at
