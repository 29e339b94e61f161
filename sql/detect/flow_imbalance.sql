-- flow_imbalance lists each minute at whose end takers had been on one side for fifteen minutes,
-- with far more volume than usual.
--
-- The flow is what takers bought less what they sold, in quote asset. Up or down, it must be
-- min_share of the volume of fifteen minutes and min_sd standard deviations. The deviation is that
-- of the flow in the 96 fifteen-minute buckets of the clock in the 24 hours before the full hour in
-- which the fifteen minutes begin. A bucket without trades counts as 0, and the deviation is at
-- least floor_quote.
--
-- Needs min_minutes recorded minutes in those 24 hours and no missing ids in the fifteen minutes;
-- otherwise the minute is not judged. A minute with missing ids, and the one in which the record of
-- a symbol begins, do not count as recorded.
--
-- Limits: one-sided flow is normal on thin pairs, so this alert alone says little. It replaces the
-- order flow of Cont, Kukanov and Stoikov 2014, which needs the order book; they call trade volume
-- the less robust measure. On thin alt/BTC pairs from 2018 to 2021, with a sliding baseline: 0.07
-- alerts per symbol and day. One symbol-day in 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes          from 1513 minutes before window_start
-- param:    window_start     TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end       TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_share        DOUBLE     flow over volume, up or down, 0 to 1; default 0.8
-- param:    min_sd           DOUBLE     standard deviations of the flow; default 15
-- param:    min_orders       BIGINT     taker orders in the fifteen minutes; default 30
-- param:    floor_quote      DOUBLE     quote asset, if none of the next three; default 300
-- param:    floor_quote_btc  DOUBLE     BTC, for pairs quoted in BTC; default 0.006
-- param:    floor_quote_eth  DOUBLE     ETH, for pairs quoted in ETH; default 0.12
-- param:    floor_quote_bnb  DOUBLE     BNB, for pairs quoted in BNB; default 0.6
-- param:    min_minutes      BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_sd        DOUBLE     standard deviations for medium severity; default 35
-- param:    high_sd          DOUBLE     standard deviations for high severity; default 58
-- column:   symbol           VARCHAR    as the exchange spells it
-- column:   at               TIMESTAMP  UTC, end of the fifteen minutes: known from then on
-- column:   score            DOUBLE     flow in standard deviations, up or down
-- column:   severity         VARCHAR    low, medium or high
-- column:   message          VARCHAR    one sentence
-- column:   first_id         BIGINT     first trade of the fifteen minutes
-- column:   last_id          BIGINT     last trade of the fifteen minutes
-- column:   side             VARCHAR    the takers': buy or sell
-- column:   flow             DOUBLE     quote asset, bought less sold
-- column:   share            DOUBLE     flow over volume, -1 to 1
-- column:   sd_flow          DOUBLE     quote asset, standard deviation of the flow in fifteen
--                                       minutes
-- key:      symbol, at
-- needs:    whole    15 minutes
-- needs:    history  min_minutes of 24 hours before the full hour, by 15 minutes
-- threshold: min_sd
-- cooldown: 30 minutes
WITH trailing_sums AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        date_trunc('hour', minute - INTERVAL 14 MINUTES) AS hour,
        bool_and(is_recorded) OVER fifteen_minutes AS is_recorded,
        sum(quote_volume) OVER fifteen_minutes AS quote_volume,
        sum(2 * buy_quote_volume - quote_volume) OVER fifteen_minutes AS flow,
        sum(buy_orders + sell_orders) OVER fifteen_minutes AS orders,
        min(first_id) OVER fifteen_minutes AS first_id,
        max(last_id) OVER fifteen_minutes AS last_id,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 14 MINUTES
        AND minute < $window_end::TIMESTAMP
    WINDOW
        fifteen_minutes AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 14 MINUTES PRECEDING AND CURRENT ROW
        )
),

judged_minutes AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        hour,
        quote_volume,
        flow,
        first_id,
        last_id,
    FROM trailing_sums
    WHERE
        minute >= $window_start::TIMESTAMP
        AND is_recorded
        AND orders >= $min_orders::BIGINT
        AND abs(flow) / nullif(quote_volume, 0) >= $min_share::DOUBLE
),

scored_minutes AS (
    SELECT
        symbol,
        minute,
        flow,
        flow / quote_volume AS share,
        greatest(
            sd_flow,
            by_quote_asset(
                symbol,
                $floor_quote_btc::DOUBLE,
                $floor_quote_eth::DOUBLE,
                $floor_quote_bnb::DOUBLE,
                $floor_quote::DOUBLE
            )
        ) AS floored_sd_flow,
        abs(flow) / floored_sd_flow AS score,
        first_id,
        last_id,
    FROM judged_minutes
    JOIN bucket_baselines(
        judged := 'judged_minutes',
        bucket_minutes := 15,
        since := $window_start::TIMESTAMP - INTERVAL 1513 MINUTES,
        until := $window_end::TIMESTAMP
    ) USING (symbol, hour)
    WHERE recorded_buckets >= greatest($min_minutes::BIGINT / 15, 1)
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(score, 2) AS score,
    severity_of(score, $medium_sd::DOUBLE, $high_sd::DOUBLE) AS severity,
    format(
        'takers {} for fifteen minutes: {:.0f} % of the volume, {:.0f} times the usual flow, until {}',
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
    format('{:.10g}', floored_sd_flow)::DOUBLE AS sd_flow,
FROM scored_minutes
WHERE score >= $min_sd::DOUBLE
ORDER BY
    symbol,
    minute
