-- cross_pair lists minutes in which a pair traded far from its price via two other pairs: a stable
-- coin that loses its peg, or a market cut off from the rest.
--
-- For a coin X and two quote assets Q and U with X/Q, X/U and Q/U on the tape, the deviation is
-- ln(X/Q * Q/U / X/U) of the last prices in a minute in which all three traded. It must differ from
-- its mean by min_deviation, up or down, and by min_sd standard deviations. The same must hold, on
-- the same side, for the minute before in which all three traded, at most 5 minutes earlier. Mean
-- and standard deviation, at least sd_floor, are those at the end of the five-minute buckets of the
-- clock in which all three traded, over the 24 hours before the full hour of the earlier minute.
-- The alert names the pair that moved most within half an hour.
-- A symbol is split into base and quote asset by the longest quote asset of quotes that it ends
-- with.
--
-- Needs the minutes of min_buckets buckets recorded in those 24 hours, and no missing ids in the
-- judged minutes of all three pairs; otherwise the minute is not judged. If all three traded in fewer
-- than min_buckets of the buckets, nothing is raised: too little is known of the usual deviation.
--
-- Limits: it misses pairs too thin to trade in the same minute, and a coin that loses its peg on
-- all its pairs equally. Not measured on real trades. Medium and high severity are two and four
-- times the threshold.
--
-- reads:    minutes        from 1505 minutes before window_start
-- param:    window_start   TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end     TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_deviation  DOUBLE     ln of the ratio of prices, up or down; default 0.01
-- param:    min_sd         DOUBLE     standard deviations; default 10
-- param:    sd_floor       DOUBLE     ln of the ratio of prices, > 0; default 0.0005
-- param:    min_buckets    BIGINT     buckets in which all three traded, of 288; default 72
-- param:    quotes         VARCHAR    quote assets, separated by commas; default 'USDT,USDC,FDUSD,TUSD,BUSD,USD1,DAI,EUR,TRY,BRL,JPY,MXN,ZAR,PLN,ARS,UAH,BTC,ETH,BNB,DOGE'
-- param:    medium_sd      DOUBLE     standard deviations for medium severity; default 20
-- param:    high_sd        DOUBLE     standard deviations for high severity; default 40
-- column:   symbol         VARCHAR    as the exchange spells it
-- column:   at             TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score          DOUBLE     standard deviations from the mean deviation, up or down
-- column:   severity       VARCHAR    low, medium or high
-- column:   message        VARCHAR    one sentence
-- column:   first_id       BIGINT     first trade of the minute, of the pair that moved most
-- column:   last_id        BIGINT     last trade of the minute
-- column:   deviation      DOUBLE     price of X/Q over that via the two others, less 1, less the
--                                     usual
-- column:   direct         VARCHAR    X/Q
-- column:   over           VARCHAR    X/U
-- column:   bridge         VARCHAR    Q/U
-- key:      symbol, at
-- needs:    whole      6 minutes
-- needs:    history    min_buckets times 5 of 24 hours before the full hour, by 5 minutes
-- needs:    triangles  quotes
-- threshold: min_sd
-- cooldown: 30 minutes
WITH splits AS (
    SELECT
        symbol,
        arg_max(quote, length(quote)) AS quote_asset,
        left(symbol, length(symbol) - length(quote_asset)) AS base_asset,
    FROM (
        SELECT DISTINCT
            symbol,
            unnest(string_split($quotes::VARCHAR, ',')) AS quote,
        FROM minutes
        WHERE
            minute >= $window_start::TIMESTAMP
            AND minute < $window_end::TIMESTAMP
    )
    WHERE ends_with(symbol, quote)
    GROUP BY symbol
),

triangles AS (
    SELECT
        direct_leg.symbol AS direct,
        over_leg.symbol AS over,
        bridge_leg.symbol AS bridge,
    FROM splits AS direct_leg
    JOIN splits AS over_leg
        ON
            direct_leg.base_asset = over_leg.base_asset
            AND direct_leg.quote_asset <> over_leg.quote_asset
    JOIN splits AS bridge_leg
        ON
            direct_leg.quote_asset = bridge_leg.base_asset
            AND over_leg.quote_asset = bridge_leg.quote_asset
),

legs AS (
    SELECT
        symbol,
        minute,
        is_recorded,
        close,
        first_id,
        last_id,
        coalesce(abs(ln(close / last_value(close IGNORE NULLS) OVER half_hour_before)), 0) AS moved,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 65 MINUTES
        AND minute < $window_end::TIMESTAMP
        AND symbol IN (SELECT unnest([direct, over, bridge]) FROM triangles)
    WINDOW
        half_hour_before AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN UNBOUNDED PRECEDING AND INTERVAL 30 MINUTES PRECEDING
        )
),

compared_minutes AS (
    SELECT
        direct,
        over,
        bridge,
        direct_leg.minute,
        direct_leg.is_recorded AND over_leg.is_recorded AND bridge_leg.is_recorded AS is_recorded,
        ln(direct_leg.close * bridge_leg.close / over_leg.close) AS deviation,
        CASE
            WHEN over_leg.moved > greatest(direct_leg.moved, bridge_leg.moved)
                THEN {'symbol': over, 'first_id': over_leg.first_id, 'last_id': over_leg.last_id}
            WHEN bridge_leg.moved > direct_leg.moved
                THEN {'symbol': bridge, 'first_id': bridge_leg.first_id, 'last_id': bridge_leg.last_id}
            ELSE {'symbol': direct, 'first_id': direct_leg.first_id, 'last_id': direct_leg.last_id}
        END AS mover,
    FROM triangles
    JOIN legs AS direct_leg ON direct = direct_leg.symbol
    JOIN legs AS over_leg
        ON
            over = over_leg.symbol
            AND direct_leg.minute = over_leg.minute
    JOIN legs AS bridge_leg
        ON
            bridge = bridge_leg.symbol
            AND direct_leg.minute = bridge_leg.minute
),

judged_minutes AS (
    SELECT
        direct,
        over,
        bridge,
        minute,
        is_recorded,
        deviation,
        mover,
        lag(minute) OVER by_time AS minute_before,
        lag(deviation) OVER by_time AS deviation_before,
        lag(is_recorded) OVER by_time AS is_recorded_before,
        date_trunc('hour', minute_before) AS hour,
    FROM compared_minutes
    WINDOW by_time AS (PARTITION BY direct, over, bridge ORDER BY minute)
    QUALIFY
        minute >= $window_start::TIMESTAMP
        AND minute_before >= minute - INTERVAL 5 MINUTES
        AND is_recorded
        AND is_recorded_before
),

hours AS (
    SELECT DISTINCT
        direct,
        over,
        bridge,
        hour,
    FROM judged_minutes
),

judged_symbols AS (
    SELECT DISTINCT unnest([direct, over, bridge]) AS symbol,
    FROM hours
),

buckets AS (
    SELECT
        symbol,
        bucket,
        is_recorded,
        close,
    FROM clock_buckets(
        source := 'judged_symbols',
        bucket_minutes := 5,
        since := $window_start::TIMESTAMP - INTERVAL 1505 MINUTES,
        until := $window_end::TIMESTAMP
    )
),

compared_buckets AS (
    SELECT
        triangles.direct,
        triangles.over,
        triangles.bridge,
        direct_leg.bucket,
        ln(direct_leg.close * bridge_leg.close / over_leg.close) AS deviation,
    FROM (SELECT DISTINCT direct, over, bridge FROM hours) AS triangles
    JOIN buckets AS direct_leg ON direct = direct_leg.symbol
    JOIN buckets AS over_leg
        ON
            over = over_leg.symbol
            AND direct_leg.bucket = over_leg.bucket
    JOIN buckets AS bridge_leg
        ON
            bridge = bridge_leg.symbol
            AND direct_leg.bucket = bridge_leg.bucket
    WHERE
        direct_leg.is_recorded
        AND over_leg.is_recorded
        AND bridge_leg.is_recorded
),

baselines AS (
    SELECT
        hours.direct,
        hours.over,
        hours.bridge,
        hours.hour,
        avg(deviation) AS usual,
        greatest(stddev_pop(deviation), $sd_floor::DOUBLE) AS sd_deviation,
    FROM hours
    JOIN compared_buckets
        ON
            hours.direct = compared_buckets.direct
            AND hours.over = compared_buckets.over
            AND hours.bridge = compared_buckets.bridge
            AND bucket >= hour - INTERVAL 24 HOURS
            AND bucket < hour
    GROUP BY
        hours.direct,
        hours.over,
        hours.bridge,
        hours.hour,
    HAVING count(*) >= greatest($min_buckets::BIGINT, 1)
),

scored_minutes AS (
    SELECT
        direct,
        over,
        bridge,
        minute,
        mover,
        deviation - usual AS distance,
        deviation_before - usual AS distance_before,
        sign(distance) * least(distance * sign(distance), distance_before * sign(distance)) AS least_distance,
        abs(least_distance) / sd_deviation AS score,
    FROM judged_minutes
    JOIN baselines USING (direct, over, bridge, hour)
    WHERE sign(distance) = sign(distance_before)
),

found_minutes AS (
    SELECT
        mover.symbol,
        minute,
        mover.first_id,
        mover.last_id,
        exp(distance) - 1 AS price_distance,
        score,
        direct,
        over,
        bridge,
    FROM scored_minutes
    WHERE
        abs(least_distance) >= $min_deviation::DOUBLE
        AND score >= $min_sd::DOUBLE
    QUALIFY row_number() OVER (PARTITION BY mover.symbol, minute ORDER BY score DESC, direct, over) = 1
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(score, 2) AS score,
    severity_of(score, $medium_sd::DOUBLE, $high_sd::DOUBLE) AS severity,
    format(
        '{} is {:+.1f} % away from its price via {} and {} ({:.0f} standard deviations), minute ending {}',
        direct,
        100 * price_distance,
        over,
        bridge,
        score,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    round(price_distance, 6) AS deviation,
    direct,
    over,
    bridge,
FROM found_minutes
ORDER BY
    symbol,
    minute
