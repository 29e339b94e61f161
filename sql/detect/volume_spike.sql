-- volume_spike lists the one-minute buckets by whose end the last five minutes had traded many times the usual volume.
--
-- It compares the quote volume of five minutes with two things of the 24 hours before the full hour in which those five minutes begin: the
-- third largest of the 288 five minutes of the clock in them (about the 99th percentile), and their mean and standard deviation. It must be
-- min_ratio times the one, at least floor_quote, and min_z standard deviations, at least floor_quote too, above the other. Five minutes
-- without trades count as 0. The median and its deviation are not used: on thin symbols most of the day is 0.
-- Needs min_minutes recorded minutes in those 24 hours and an unbroken record of what is judged; otherwise it is not judged. A minute in
-- which ids are missing, and the one in which a symbol's record begins, do not count as recorded.
-- Fails on: the hour of the day (it compares with the whole day), listings and news; on a coin with news every hour the third largest is
-- large already.
-- Measured on thin alt/BTC pairs of 2018 to 2021, with the percentile of all five minutes instead of those of the clock: 0.07 alarms a
-- symbol and day, 82 of 100 pumps. Medium and high are the scores of one symbol-day in 50 and in 100.
--
-- reads:    minutes          from 1503 minutes before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_ratio        DOUBLE     five minutes over the third largest of the day before, > 1; default 12
-- param:    min_z            DOUBLE     standard deviations; default 15
-- param:    min_orders       BIGINT     taker orders in the five minutes; default 10
-- param:    floor_quote      DOUBLE     quote asset, least third largest and deviation, where the quote asset is none of the next three; default 1000
-- param:    floor_quote_btc  DOUBLE     BTC, least third largest and deviation, on a pair quoted in BTC; default 0.02
-- param:    floor_quote_eth  DOUBLE     ETH, least third largest and deviation, on a pair quoted in ETH; default 0.4
-- param:    floor_quote_bnb  DOUBLE     BNB, least third largest and deviation, on a pair quoted in BNB; default 2
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_ratio     DOUBLE     dimensionless, from here on severity is medium; default 24
-- param:    high_ratio       DOUBLE     dimensionless, from here on severity is high; default 38
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the five minutes: from then on it could be known
-- column:   score            DOUBLE     quote volume over the third largest of the day before, dimensionless
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the five minutes
-- column:   last_id          BIGINT     last trade of the five minutes
-- column:   quote_volume     DOUBLE     quote asset, of the five minutes
-- column:   usual            DOUBLE     quote asset, mean of five minutes in the 24 hours before
-- column:   peak             DOUBLE     quote asset, third largest of them
-- column:   z                DOUBLE     standard deviations above the mean
-- key:      symbol, at
-- threshold: min_ratio
-- cooldown: 30 minutes
WITH spans AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 4 MINUTES) AS hour,
        bool_and(is_recorded) OVER span AS is_recorded,
        sum(quote_volume) OVER span AS quote_volume,
        sum(buy_orders + sell_orders) OVER span AS orders,
        min(first_id) OVER span AS first_id,
        max(last_id) OVER span AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW span AS (PARTITION BY symbol ORDER BY minute RANGE BETWEEN INTERVAL 4 MINUTES PRECEDING AND CURRENT ROW)
),

judged_minutes AS (
    SELECT
        spans.*,
    FROM spans
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
        AND quote_volume >= $min_ratio::DOUBLE * CASE
            WHEN symbol LIKE '%BTC' THEN $floor_quote_btc::DOUBLE
            WHEN symbol LIKE '%ETH' THEN $floor_quote_eth::DOUBLE
            WHEN symbol LIKE '%BNB' THEN $floor_quote_bnb::DOUBLE
            ELSE $floor_quote::DOUBLE
        END
),

buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 5 MINUTES, minute) AS bucket,
        bool_and(is_recorded) AS is_recorded,
        coalesce(sum(quote_volume), 0) AS quote_volume,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1503 MINUTES
        AND minute < $window_end::TIMESTAMP
        AND symbol IN (SELECT symbol FROM judged_minutes)
    GROUP BY
        symbol,
        bucket,
),

hours AS (
    SELECT DISTINCT
        symbol,
        hour,
        recorded_from,
    FROM judged_minutes
),

baselines AS (
    SELECT
        hours.symbol,
        hours.hour,
        date_diff('minute', greatest(hours.hour - INTERVAL 24 HOURS, hours.recorded_from), hours.hour) // 5
        - count(*) FILTER (NOT is_recorded AND bucket >= hours.recorded_from) AS recorded_buckets,
        coalesce(sum(quote_volume) FILTER (is_recorded), 0) AS volume_sum,
        coalesce(sum(quote_volume * quote_volume) FILTER (is_recorded), 0) AS volume_square_sum,
        coalesce((max(quote_volume, 3) FILTER (is_recorded))[3], 0) AS peak,
    FROM hours
    LEFT JOIN buckets
        ON
            hours.symbol = buckets.symbol
            AND bucket >= hours.hour - INTERVAL 24 HOURS
            AND bucket < hours.hour
    GROUP BY
        hours.symbol,
        hours.hour,
        hours.recorded_from,
    HAVING recorded_buckets >= greatest($min_minutes::BIGINT / 5, 1)
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        quote_volume,
        volume_sum / recorded_buckets AS usual,
        peak,
        CASE
            WHEN symbol LIKE '%BTC' THEN $floor_quote_btc::DOUBLE
            WHEN symbol LIKE '%ETH' THEN $floor_quote_eth::DOUBLE
            WHEN symbol LIKE '%BNB' THEN $floor_quote_bnb::DOUBLE
            ELSE $floor_quote::DOUBLE
        END AS floor_quote,
        quote_volume / greatest(peak, floor_quote) AS ratio,
        (quote_volume - usual) / greatest(sqrt(greatest(volume_square_sum / recorded_buckets - usual ** 2, 0)), floor_quote) AS z,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN baselines USING (symbol, hour)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(ratio, 2) AS score,
    CASE
        WHEN ratio >= $high_ratio::DOUBLE THEN 'high'
        WHEN ratio >= $medium_ratio::DOUBLE THEN 'medium'
        ELSE 'low'
    END AS severity,
    format(
        'traded {} of quote asset in five minutes, {:.0f} times the busiest of the day before, to {}',
        CASE WHEN quote_volume >= 1000 THEN format('{:,}', quote_volume::BIGINT) ELSE format('{:.4g}', quote_volume) END,
        ratio,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    format('{:.10g}', quote_volume)::DOUBLE AS quote_volume,
    format('{:.10g}', usual)::DOUBLE AS usual,
    format('{:.10g}', peak)::DOUBLE AS peak,
    round(z, 2) AS z,
FROM scored_minutes
WHERE
    ratio >= $min_ratio::DOUBLE
    AND z >= $min_z::DOUBLE
ORDER BY
    symbol,
    minute
