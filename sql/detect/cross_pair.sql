-- cross_pair lists the one-minute buckets in which a pair traded far from its price over two others: a stable coin that leaves its peg, or
-- a market cut off from the rest.
--
-- Of a coin X and two quote assets Q and U with all of X/Q, X/U and Q/U on the tape, the deviation is ln(X/Q * Q/U / X/U), of last prices,
-- in a minute in which all three traded. It must be min_deviation from its mean, up or down, and min_sd standard deviations, at least
-- sd_floor, and so must that of the minute before in which all three traded, at most 5 minutes earlier, on the same side. Mean and
-- deviation are those at the end of the five minutes of the clock, as far as all three traded in them, over the 24 hours before the full
-- hour in which the earlier of the two minutes lies. The alert is about the pair of the three that had moved most since half an hour
-- before.
-- A symbol is split into base and quote asset by the longest of the quote assets in quotes that it ends with.
-- Needs min_buckets such five minutes, and a whole record of the judged minutes on all three pairs; otherwise it is not judged.
-- Fails on: pairs too thin to trade in the same minute as the others; a coin that leaves its peg on all its pairs at once and in the same
-- measure.
-- Not measured on real trades. Medium and high are two and four times what is asked for.
--
-- reads:    minutes        from 1505 minutes before window_start
-- param:    window_start   TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end     TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_deviation  DOUBLE     ln of the ratio of prices, up or down; default 0.01
-- param:    min_sd         DOUBLE     standard deviations; default 10
-- param:    sd_floor       DOUBLE     ln of the ratio of prices, > 0; default 0.0005
-- param:    min_buckets    BIGINT     five minutes in which all three traded, of 288; default 72
-- param:    quotes         VARCHAR    quote assets, with commas between; default 'USDT,USDC,FDUSD,TUSD,BUSD,USD1,DAI,EUR,TRY,BRL,JPY,MXN,ZAR,PLN,ARS,UAH,BTC,ETH,BNB,DOGE'
-- param:    medium_sd      DOUBLE     standard deviations, from here on severity is medium; default 20
-- param:    high_sd        DOUBLE     standard deviations, from here on severity is high; default 40
-- column:   symbol         VARCHAR    as the exchange spells it
-- column:   at             TIMESTAMP  UTC, end of the minute: from then on it could be known
-- column:   score          DOUBLE     deviation from its mean in standard deviations, up or down
-- column:   severity       VARCHAR    low, medium or high
-- column:   message        VARCHAR    one sentence
-- column:   first_id       BIGINT     first trade of the minute, of the pair that moved most
-- column:   last_id        BIGINT     last trade of the minute
-- column:   deviation      DOUBLE     price of X/Q over that by the two others, less 1, less what is usual
-- column:   direct         VARCHAR    X/Q
-- column:   over           VARCHAR    X/U
-- column:   bridge         VARCHAR    Q/U
-- key:      symbol, at
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
        straight.symbol AS direct,
        sideways.symbol AS over,
        across.symbol AS bridge,
    FROM splits AS straight
    JOIN splits AS sideways
        ON
            straight.base_asset = sideways.base_asset
            AND straight.quote_asset <> sideways.quote_asset
    JOIN splits AS across
        ON
            straight.quote_asset = across.base_asset
            AND sideways.quote_asset = across.quote_asset
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
        straight.minute,
        straight.is_recorded AND sideways.is_recorded AND across.is_recorded AS is_recorded,
        ln(straight.close * across.close / sideways.close) AS deviation,
        CASE
            WHEN sideways.moved > greatest(straight.moved, across.moved)
                THEN {'symbol': over, 'first_id': sideways.first_id, 'last_id': sideways.last_id}
            WHEN across.moved > straight.moved
                THEN {'symbol': bridge, 'first_id': across.first_id, 'last_id': across.last_id}
            ELSE {'symbol': direct, 'first_id': straight.first_id, 'last_id': straight.last_id}
        END AS mover,
    FROM triangles
    JOIN legs AS straight ON direct = straight.symbol
    JOIN legs AS sideways
        ON
            over = sideways.symbol
            AND straight.minute = sideways.minute
    JOIN legs AS across
        ON
            bridge = across.symbol
            AND straight.minute = across.minute
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

buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 5 MINUTES, minute) AS bucket,
        bool_and(is_recorded) AS is_recorded,
        arg_max(close, minute) AS close,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1505 MINUTES
        AND minute < $window_end::TIMESTAMP
        AND symbol IN (SELECT unnest([direct, over, bridge]) FROM hours)
    GROUP BY
        symbol,
        bucket,
),

compared_buckets AS (
    SELECT
        triangles.direct,
        triangles.over,
        triangles.bridge,
        straight.bucket,
        ln(straight.close * across.close / sideways.close) AS deviation,
    FROM (SELECT DISTINCT direct, over, bridge FROM hours) AS triangles
    JOIN buckets AS straight ON direct = straight.symbol
    JOIN buckets AS sideways
        ON
            over = sideways.symbol
            AND straight.bucket = sideways.bucket
    JOIN buckets AS across
        ON
            bridge = across.symbol
            AND straight.bucket = across.bucket
    WHERE
        straight.is_recorded
        AND sideways.is_recorded
        AND across.is_recorded
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
        deviation - usual AS off,
        deviation_before - usual AS off_before,
        sign(off) * least(off * sign(off), off_before * sign(off)) AS least_off,
        abs(least_off) / sd_deviation AS score,
    FROM judged_minutes
    JOIN baselines USING (direct, over, bridge, hour)
    WHERE sign(off) = sign(off_before)
),

found_minutes AS (
    SELECT
        mover.symbol,
        minute,
        mover.first_id,
        mover.last_id,
        exp(off) - 1 AS off_price,
        score,
        direct,
        over,
        bridge,
    FROM scored_minutes
    WHERE
        abs(least_off) >= $min_deviation::DOUBLE
        AND score >= $min_sd::DOUBLE
    QUALIFY row_number() OVER (PARTITION BY mover.symbol, minute ORDER BY score DESC, direct, over) = 1
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(score, 2) AS score,
    CASE
        WHEN score >= $high_sd::DOUBLE THEN 'high'
        WHEN score >= $medium_sd::DOUBLE THEN 'medium'
        ELSE 'low'
    END AS severity,
    format(
        '{} is {:+.1f} % off its price over {} and {} ({:.0f} times the usual), in the minute to {}',
        direct,
        100 * off_price,
        over,
        bridge,
        score,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    round(off_price, 6) AS deviation,
    direct,
    over,
    bridge,
FROM found_minutes
ORDER BY
    symbol,
    minute
