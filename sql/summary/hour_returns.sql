-- hour_returns lists UTC hours in which a symbol traded, with what its minute closes add up to.
--
-- A return of a minute is its close over the close of the minute before it with trades. The first
-- minute of an hour has none here: whoever adds up hours links it to the close of the hour before. A
-- minute in which a gap in the ids ends counts from its open in ratios and squares. A minute in which a
-- gap begins or ends has no change.
--
-- reads:   trades               all
-- reads:   gaps                 all
-- column:  symbol               VARCHAR         as the exchange spells it
-- column:  hour                 TIMESTAMP       UTC, start of the hour
-- column:  minutes              BIGINT          minutes with a trade
-- column:  first_minute         TIMESTAMP       UTC, start of the first of them
-- column:  first_open           DOUBLE          quote asset per base asset, of the first minute
-- column:  first_close          DOUBLE          quote asset per base asset, of the first minute
-- column:  first_quote_volume   DOUBLE          quote asset, of the first minute
-- column:  first_ends_gap       BOOLEAN         true if a gap ends in the first minute
-- column:  first_touches_gap    BOOLEAN         true if a gap begins or ends in the first minute
-- column:  last_close           DOUBLE          quote asset per base asset, of the last minute
-- column:  highest_close        DOUBLE          quote asset per base asset
-- column:  lowest_close         DOUBLE          quote asset per base asset
-- column:  lowest_peak_ratio    DOUBLE          dimensionless, lowest close over the highest before it
-- column:  squares              DECIMAL(38,24)  dimensionless, sum of squared log returns
-- column:  highest_ratio        DOUBLE          dimensionless, largest close over the one before
-- column:  highest_ratio_at     TIMESTAMP       UTC, the first such minute
-- column:  lowest_ratio         DOUBLE          dimensionless, smallest close over the one before
-- column:  lowest_ratio_at      TIMESTAMP       UTC, the first such minute
-- column:  changes              BIGINT          minutes with a change
-- column:  second_change        DOUBLE          dimensionless, of the second minute
-- column:  last_change          DOUBLE          dimensionless, of the last minute, if it is not the first
-- column:  costs                BIGINT          minutes with a change and a volume
-- column:  cost                 DECIMAL(38,24)  per unit of quote asset, sum of absolute change over
--                                               quote_volume
-- column:  pairs                BIGINT          successive changes, from the third minute
-- column:  pair_sum             DECIMAL(38,18)  dimensionless, sum of the later changes
-- column:  pair_sum_before      DECIMAL(38,18)  dimensionless, sum of the earlier changes
-- column:  pair_products        DECIMAL(38,24)  dimensionless, sum of their products
-- key:     symbol, hour
WITH
symbol_minutes AS (
    SELECT
        symbol,
        date_trunc('hour', traded_at) AS hour,
        date_trunc('minute', traded_at) AS minute,
        arg_min(price, id) AS open,
        arg_max(price, id) AS close,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8))::DOUBLE AS quote_volume,
    FROM trades
    GROUP BY symbol, hour, minute
),
gap_sides AS (
    SELECT
        symbol,
        date_trunc('minute', after_at) AS minute,
        false AS is_end,
    FROM gaps
    UNION ALL
    SELECT
        symbol,
        date_trunc('minute', before_at) AS minute,
        true AS is_end,
    FROM gaps
),
gap_minutes AS (
    SELECT
        symbol,
        minute,
        bool_or(is_end) AS is_end,
    FROM gap_sides
    GROUP BY symbol, minute
),
minute_returns AS (
    SELECT
        symbol_minutes.symbol AS symbol,
        hour,
        symbol_minutes.minute AS minute,
        row_number() OVER minutes_before AS place,
        open,
        close,
        quote_volume,
        coalesce(gap_minutes.is_end, false) AS ends_gap,
        gap_minutes.symbol IS NOT NULL AS touches_gap,
        close / nullif(max(close) OVER minutes_before, 0) AS peak_ratio,
        CASE
            WHEN place = 1 THEN NULL
            WHEN ends_gap THEN close / nullif(open, 0)
            ELSE close / nullif(lag(close) OVER minutes_before, 0)
        END AS ratio,
        CASE WHEN NOT touches_gap THEN close / nullif(lag(close) OVER minutes_before, 0) - 1 END AS change,
    FROM symbol_minutes
    LEFT JOIN gap_minutes USING (symbol, minute)
    WINDOW minutes_before AS (PARTITION BY symbol_minutes.symbol, hour ORDER BY symbol_minutes.minute)
),
return_pairs AS (
    SELECT
        symbol,
        hour,
        minute,
        place,
        open,
        close,
        quote_volume,
        ends_gap,
        touches_gap,
        peak_ratio,
        ratio,
        change,
        abs(change) / nullif(quote_volume, 0) AS cost,
        CASE WHEN change IS NOT NULL THEN lag(change) OVER minutes_before END AS change_before,
    FROM minute_returns
    WINDOW minutes_before AS (PARTITION BY symbol, hour ORDER BY minute)
)
SELECT
    symbol,
    hour,
    count(*) AS minutes,
    min(minute) AS first_minute,
    arg_min(open, minute) AS first_open,
    arg_min(close, minute) AS first_close,
    arg_min(quote_volume, minute) AS first_quote_volume,
    arg_min(ends_gap, minute) AS first_ends_gap,
    arg_min(touches_gap, minute) AS first_touches_gap,
    arg_max(close, minute) AS last_close,
    max(close) AS highest_close,
    min(close) AS lowest_close,
    min(peak_ratio) AS lowest_peak_ratio,
    coalesce(sum(pow(ln(nullif(ratio, 0)), 2)::DECIMAL(38, 24)), 0) AS squares,
    max(ratio) AS highest_ratio,
    arg_max(minute, ratio ORDER BY minute) AS highest_ratio_at,
    min(ratio) AS lowest_ratio,
    arg_min(minute, ratio ORDER BY minute) AS lowest_ratio_at,
    count(change) AS changes,
    max(change) FILTER (place = 2) AS second_change,
    arg_max_null(change, minute) AS last_change,
    count(cost) AS costs,
    coalesce(sum(try_cast(cost AS DECIMAL(38, 24))), 0) AS cost,
    count(change_before) AS pairs,
    coalesce(sum(try_cast(change AS DECIMAL(38, 18))) FILTER (change_before IS NOT NULL), 0) AS pair_sum,
    coalesce(sum(try_cast(change_before AS DECIMAL(38, 18))), 0) AS pair_sum_before,
    coalesce(sum(try_cast(change * change_before AS DECIMAL(38, 24))), 0) AS pair_products,
FROM return_pairs
GROUP BY symbol, hour
ORDER BY symbol, hour
