-- volume_spike lists each minute at whose end the quote volume of the last five minutes is many
-- times the usual one.
--
-- The volume is compared with the 288 five-minute buckets of the clock in the 24 hours before the
-- full hour in which the five minutes begin. It must be min_ratio times their third largest (about
-- the 99th percentile) and min_z standard deviations above their mean. Both the third largest and
-- the deviation are at least floor_quote. A bucket without trades counts as 0. The median is not
-- used because it is 0 for most thin symbols.
--
-- Needs min_minutes recorded minutes in those 24 hours and no missing ids in the five minutes;
-- otherwise the minute is not judged. A minute with missing ids, and the one in which the record of
-- a symbol begins, do not count as recorded.
--
-- Limits: it compares with the whole day, not with the same hour of it. Listings and news raise it.
-- For a coin with news every hour the third largest bucket is already large. On thin alt/BTC pairs
-- from 2018 to 2021, with the percentile over sliding five minutes: 0.07 alerts per symbol and day,
-- 82 of 100 pumps. One symbol-day in 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes          from 1503 minutes before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_ratio        DOUBLE     volume over the third largest bucket, > 1; default 12
-- param:    min_z            DOUBLE     standard deviations; default 15
-- param:    min_orders       BIGINT     taker orders in the five minutes; default 10
-- param:    floor_quote      DOUBLE     quote asset, if none of the next three; default 1000
-- param:    floor_quote_btc  DOUBLE     BTC, for pairs quoted in BTC; default 0.02
-- param:    floor_quote_eth  DOUBLE     ETH, for pairs quoted in ETH; default 0.4
-- param:    floor_quote_bnb  DOUBLE     BNB, for pairs quoted in BNB; default 2
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_ratio     DOUBLE     dimensionless, for medium severity; default 24
-- param:    high_ratio       DOUBLE     dimensionless, for high severity; default 38
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the five minutes: known from then on
-- column:   score            DOUBLE     quote volume over the third largest bucket, dimensionless
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the five minutes
-- column:   last_id          BIGINT     last trade of the five minutes
-- column:   quote_volume     DOUBLE     quote asset, of the five minutes
-- column:   usual            DOUBLE     quote asset, mean of five minutes in the 24 hours before
-- column:   peak             DOUBLE     quote asset, third largest of them
-- column:   z                DOUBLE     standard deviations above the mean
-- key:      symbol, at
-- needs:    whole    5 minutes
-- needs:    history  min_minutes of 24 hours before the full hour, by 5 minutes
-- threshold: min_ratio
-- cooldown: 30 minutes
WITH trailing_sums AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 4 MINUTES) AS hour,
        bool_and(is_recorded) OVER five_minutes AS is_recorded,
        sum(quote_volume) OVER five_minutes AS quote_volume,
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

floored_sums AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        hour,
        is_recorded,
        quote_volume,
        orders,
        first_id,
        last_id,
        by_quote_asset(
            symbol,
            $floor_quote_btc::DOUBLE,
            $floor_quote_eth::DOUBLE,
            $floor_quote_bnb::DOUBLE,
            $floor_quote::DOUBLE
        ) AS floor_quote,
    FROM trailing_sums
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        hour,
        quote_volume,
        floor_quote,
        first_id,
        last_id,
    FROM floored_sums
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
        AND quote_volume >= $min_ratio::DOUBLE * floor_quote
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        quote_volume,
        mean_quote_volume AS usual,
        third_quote_volume AS peak,
        quote_volume / greatest(peak, floor_quote) AS ratio,
        (quote_volume - usual) / greatest(sd_quote_volume, floor_quote) AS z,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN bucket_baselines(
        judged := 'judged_minutes',
        bucket_minutes := 5,
        since := $window_start::TIMESTAMP - INTERVAL 1503 MINUTES,
        until := $window_end::TIMESTAMP
    ) USING (symbol, hour)
    WHERE recorded_buckets >= greatest($min_minutes::BIGINT / 5, 1)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(ratio, 2) AS score,
    severity_of(ratio, $medium_ratio::DOUBLE, $high_ratio::DOUBLE) AS severity,
    format(
        'traded {} of quote asset in five minutes, {:.0f} times a busy five minutes of the day before, until {}',
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
