-- flow_imbalance lists the one-minute buckets by whose end takers had been on one side for a quarter of an hour, with much more volume than
-- usual.
--
-- The flow is what takers bought less what they sold, in quote asset. Of fifteen minutes' volume it must be min_share, up or down, and
-- min_sd standard deviations of the flow over the 96 quarters of the clock in the 24 hours before the full hour in which those fifteen
-- minutes begin; a quarter without trades is 0, and the deviation is at least floor_quote.
-- Needs min_minutes recorded minutes in those 24 hours and an unbroken record of what is judged; otherwise it is not judged. A minute in
-- which ids are missing, and the one in which a symbol's record begins, do not count as recorded.
-- Fails on: one-sided flow is normal on thin pairs, so an alarm of this one alone says little. It is a stand-in for the order flow of Cont,
-- Kukanov and Stoikov 2014, which needs the book; they call trade volume the less robust measure.
-- Measured on thin alt/BTC pairs of 2018 to 2021, with a sliding baseline: 0.07 alarms a symbol and day. Medium and high are the scores of
-- one symbol-day in 50 and in 100.
--
-- reads:    minutes          from 1513 minutes before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_share        DOUBLE     flow over volume, up or down, 0 to 1; default 0.8
-- param:    min_sd           DOUBLE     standard deviations of the flow; default 15
-- param:    min_orders       BIGINT     taker orders in the fifteen minutes; default 30
-- param:    floor_quote      DOUBLE     quote asset, least deviation, where the quote asset is none of the next three; default 300
-- param:    floor_quote_btc  DOUBLE     BTC, least deviation, on a pair quoted in BTC; default 0.006
-- param:    floor_quote_eth  DOUBLE     ETH, least deviation, on a pair quoted in ETH; default 0.12
-- param:    floor_quote_bnb  DOUBLE     BNB, least deviation, on a pair quoted in BNB; default 0.6
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_sd        DOUBLE     standard deviations, from here on severity is medium; default 35
-- param:    high_sd          DOUBLE     standard deviations, from here on severity is high; default 58
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the fifteen minutes: from then on it could be known
-- column:   score            DOUBLE     flow in standard deviations, up or down
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the fifteen minutes
-- column:   last_id          BIGINT     last trade of the fifteen minutes
-- column:   side             VARCHAR    the takers': buy or sell
-- column:   flow             DOUBLE     quote asset, bought less sold
-- column:   share            DOUBLE     flow over volume, -1 to 1
-- column:   sd_flow          DOUBLE     quote asset, standard deviation of fifteen minutes' flow in the 24 hours before
-- key:      symbol, at
-- threshold: min_sd
-- cooldown: 30 minutes
WITH spans AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 14 MINUTES) AS hour,
        bool_and(is_recorded) OVER span AS is_recorded,
        sum(quote_volume) OVER span AS quote_volume,
        sum(2 * buy_quote_volume - quote_volume) OVER span AS flow,
        sum(buy_orders + sell_orders) OVER span AS orders,
        min(first_id) OVER span AS first_id,
        max(last_id) OVER span AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 14 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW span AS (PARTITION BY symbol ORDER BY minute RANGE BETWEEN INTERVAL 14 MINUTES PRECEDING AND CURRENT ROW)
),

judged_minutes AS (
    SELECT
        spans.*,
    FROM spans
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
        AND abs(flow) / nullif(quote_volume, 0) >= $min_share::DOUBLE
),

buckets AS (
    SELECT
        symbol,
        time_bucket(INTERVAL 15 MINUTES, minute) AS bucket,
        bool_and(is_recorded) AS is_recorded,
        coalesce(sum(2 * buy_quote_volume - quote_volume), 0) AS flow,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 1513 MINUTES
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
        date_diff('minute', greatest(hours.hour - INTERVAL 24 HOURS, hours.recorded_from), hours.hour) // 15
        - count(*) FILTER (NOT is_recorded AND bucket >= hours.recorded_from) AS recorded_buckets,
        coalesce(sum(flow) FILTER (is_recorded), 0) AS flow_sum,
        coalesce(sum(flow * flow) FILTER (is_recorded), 0) AS flow_square_sum,
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
    HAVING recorded_buckets >= greatest($min_minutes::BIGINT / 15, 1)
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        flow,
        flow / quote_volume AS share,
        greatest(
            sqrt(greatest(flow_square_sum / recorded_buckets - (flow_sum / recorded_buckets) ** 2, 0)),
            CASE
                WHEN symbol LIKE '%BTC' THEN $floor_quote_btc::DOUBLE
                WHEN symbol LIKE '%ETH' THEN $floor_quote_eth::DOUBLE
                WHEN symbol LIKE '%BNB' THEN $floor_quote_bnb::DOUBLE
                ELSE $floor_quote::DOUBLE
            END
        ) AS sd_flow,
        abs(flow) / sd_flow AS score,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN baselines USING (symbol, hour)
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
        'takers {} for a quarter of an hour: {:.0f} % of the volume, {:.0f} times the usual flow, to {}',
        CASE WHEN flow > 0 THEN 'bought' ELSE 'sold' END,
        100 * (1 + abs(share)) / 2,
        score,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    CASE WHEN flow > 0 THEN 'buy' ELSE 'sell' END AS side,
    format('{:.10g}', flow)::DOUBLE AS flow,
    round(share, 4) AS share,
    format('{:.10g}', sd_flow)::DOUBLE AS sd_flow,
FROM scored_minutes
WHERE score >= $min_sd::DOUBLE
ORDER BY
    symbol,
    minute
