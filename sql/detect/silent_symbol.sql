-- silent_symbol lists minutes in which a symbol traded again after a silence far longer than any
-- before, if the ids prove that nothing was missed.
--
-- The ids prove it only once the next trade has come: the ids on both sides of the silence are
-- consecutive. The alert therefore comes at the end of the silence and says how long it was. A
-- silence counts if it lasted min_silence minutes and min_ratio times the longest silence in the
-- rest of the 72 hours before its end. While nothing comes, a silent symbol and a dead connection
-- look the same on the tape.
--
-- Needs min_minutes recorded minutes in those 72 hours before the silence. A silence with missing
-- ids is not judged, and does not count as the longest before.
--
-- Limits: maintenance of the exchange silences all symbols together; that is one incident of the
-- whole market. On thin alt/BTC pairs from 2018 to 2021: 0.013 alerts per symbol and day. Medium
-- and high severity are four and eight times the longest silence.
--
-- reads:    minutes         from 4321 minutes before window_start
-- param:    window_start    TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end      TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_silence     DOUBLE     minutes without a trade; default 10
-- param:    min_ratio       DOUBLE     silence over the longest before, > 1; default 3
-- param:    min_minutes     BIGINT     recorded minutes, of 4320; default 720
-- param:    medium_ratio    DOUBLE     dimensionless, for medium severity; default 4
-- param:    high_ratio      DOUBLE     dimensionless, for high severity; default 8
-- column:   symbol          VARCHAR    as the exchange spells it
-- column:   at              TIMESTAMP  UTC, end of the minute of the next trade: known from then on
-- column:   score           DOUBLE     silence over the longest before it, dimensionless
-- column:   severity        VARCHAR    low, medium or high
-- column:   message         VARCHAR    one sentence
-- column:   first_id        BIGINT     last trade before the silence
-- column:   last_id         BIGINT     first trade after it
-- column:   silent_from     TIMESTAMP  UTC, last trade before
-- column:   silent_until    TIMESTAMP  UTC, first trade after
-- column:   silence         DOUBLE     minutes
-- column:   longest_before  DOUBLE     minutes, longest silence before it
-- key:      symbol, at
-- needs:    history  min_minutes of 72 hours before the silence
-- threshold: min_ratio
-- cooldown: 30 minutes
WITH
-- Before the window only the last minute of each symbol matters at first, so a short run need not
-- sort three days.
last_minutes AS (
    SELECT
        symbol,
        max(minute) AS minute,
        arg_max(last_id, minute) AS last_id,
        arg_max(last_at, minute) AS last_at,
        arg_max(first_id, minute) AS first_id,
        arg_max(first_at, minute) AS first_at,
        any_value(recorded_from) AS recorded_from,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4321 MINUTES
        AND minute < $window_start::TIMESTAMP
    GROUP BY symbol
    UNION ALL
    SELECT
        symbol,
        minute,
        last_id,
        last_at,
        first_id,
        first_at,
        recorded_from,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP
        AND minute < $window_end::TIMESTAMP
),

neighbours AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        first_id,
        first_at,
        lag(minute) OVER by_time AS minute_before,
        lag(last_id) OVER by_time AS id_before,
        lag(last_at) OVER by_time AS at_before,
    FROM last_minutes
    WINDOW by_time AS (PARTITION BY symbol ORDER BY minute)
),

silences AS (
    SELECT
        symbol,
        minute,
        recorded_from,
        minute_before,
        id_before,
        first_id,
        at_before,
        first_at,
        epoch_us(first_at) - epoch_us(at_before) AS silence,
    FROM neighbours
    WHERE
        minute >= $window_start::TIMESTAMP
        AND first_id = id_before + 1
        AND silence >= 60e6 * $min_silence::DOUBLE
),

-- A silence that began before the 72 hours does not count.
earlier_minutes AS (
    SELECT
        symbol,
        minute,
        is_recorded,
        epoch_us(first_at) - epoch_us(lag(last_at) OVER by_time) AS silence,
        first_id = lag(last_id) OVER by_time + 1 AS is_whole,
        lag(minute) OVER by_time AS minute_before,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 4321 MINUTES
        AND minute < $window_end::TIMESTAMP
        AND symbol IN (SELECT symbol FROM silences)
    WINDOW by_time AS (PARTITION BY symbol ORDER BY minute)
),

compared_silences AS (
    SELECT
        silences.symbol,
        silences.minute,
        any_value(silences.id_before) AS id_before,
        any_value(silences.first_id) AS first_id,
        any_value(silences.at_before) AS at_before,
        any_value(silences.first_at) AS first_at,
        any_value(silences.silence) AS silence,
        max(earlier_minutes.silence) FILTER (
            is_whole AND earlier_minutes.minute_before >= silences.minute - INTERVAL 72 HOURS
        ) AS longest_before,
        date_diff(
            'minute',
            greatest(silences.minute - INTERVAL 72 HOURS, any_value(recorded_from)),
            any_value(silences.minute_before) + INTERVAL 1 MINUTE
        )
        - count(*) FILTER (NOT is_recorded AND earlier_minutes.minute >= recorded_from) AS recorded_minutes,
    FROM silences
    JOIN earlier_minutes
        ON
            silences.symbol = earlier_minutes.symbol
            AND earlier_minutes.minute >= silences.minute - INTERVAL 72 HOURS
            AND earlier_minutes.minute <= silences.minute_before
    GROUP BY
        silences.symbol,
        silences.minute,
),

scored_silences AS (
    SELECT
        symbol,
        minute,
        id_before,
        first_id,
        at_before,
        first_at,
        silence,
        longest_before,
        silence / nullif(longest_before, 0) AS ratio,
    FROM compared_silences
    WHERE recorded_minutes >= $min_minutes::BIGINT
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(ratio, 2) AS score,
    severity_of(ratio, $medium_ratio::DOUBLE, $high_ratio::DOUBLE) AS severity,
    format(
        'no trades for {:.0f} minutes, from {} to {}, {:.1f} times the longest silence before',
        silence / 60e6,
        strftime(at_before, '%H:%M'),
        strftime(first_at, '%H:%M'),
        ratio
    ) AS message,
    id_before AS first_id,
    first_id AS last_id,
    at_before AS silent_from,
    first_at AS silent_until,
    round(silence / 60e6, 4) AS silence,
    round(longest_before / 60e6, 4) AS longest_before,
FROM scored_silences
WHERE ratio >= $min_ratio::DOUBLE
ORDER BY
    symbol,
    minute
