-- completeness lists the symbols on the tape and whether every trade in [window_start, window_end)
-- is on the tape.
--
-- It compares ids, not times. The missing ids are those of every gap except gaps whose two
-- neighbours lie on the same side of the window. All of them may be in the window, and some may be
-- around it. If no id is missing, the verdict names the end of the window that the tape does not
-- reach, the start first, because ids cannot show how many trades that leaves out.
--
-- Verdicts: complete; missing (ids are missing and may still be fetched); absent (the exchange
-- itself lacks all missing ids); begins late (the tape begins in the window, more than late_seconds
-- and 50 usual pauses after window_start); ends early (the tape ends in the window, more than
-- early_seconds and 50 usual pauses before window_end); no trades (recorded on both sides of the
-- window, and nothing traded in it); not recorded. The usual pause is the mean time between two
-- rows.
--
-- reads:   trades            from window_start
-- reads:   gaps              all
-- reads:   bounds            all
-- reads:   coverage          from window_start
-- param:   window_start      TIMESTAMP  UTC, inclusive
-- param:   window_end        TIMESTAMP  UTC, exclusive
-- param:   late_seconds      BIGINT     seconds after window_start, >= 0; default 60
-- param:   early_seconds     BIGINT     seconds before window_end, >= 0; default 900
-- column:  symbol            VARCHAR    as the exchange spells it
-- column:  verdict           VARCHAR    complete, missing, absent, begins late, ends early, no
--                                       trades or not recorded
-- column:  rows              BIGINT     rows of the tape in the window
-- column:  missing           BIGINT     ids that are not on the tape
-- column:  absent            BIGINT     missing ids that the exchange itself does not have
-- column:  gaps              BIGINT     gaps that they form
-- column:  first_id          BIGINT     lowest id in the window
-- column:  last_id           BIGINT     highest id in the window
-- column:  first_missing_id  BIGINT     lowest id that is missing
-- column:  last_missing_id   BIGINT     highest id that is missing
-- column:  missing_from      TIMESTAMP  UTC, last trade before the first gap
-- column:  missing_until     TIMESTAMP  UTC, first trade after the last gap
-- column:  recorded_since    TIMESTAMP  UTC, first trade of the symbol on the tape
-- column:  recorded_until    TIMESTAMP  UTC, last trade of the symbol on the tape
-- key:     symbol
WITH
symbol_rows AS (
    SELECT
        symbol,
        count(*) AS rows,
        min(id) AS first_id,
        max(id) AS last_id,
        (epoch_us(max(traded_at)) - epoch_us(min(traded_at))) / 1e6 / nullif(count(*) - 1, 0) AS usual_pause_seconds,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol
),
symbol_gaps AS (
    SELECT
        symbol,
        sum(last_id - first_id + 1)::BIGINT AS missing,
        count(*) AS gaps,
        min(first_id) AS first_missing_id,
        max(last_id) AS last_missing_id,
        arg_min(after_at, first_id) AS missing_from,
        arg_max(before_at, last_id) AS missing_until,
    FROM gaps
    WHERE (before_at IS NULL OR before_at >= $window_start::TIMESTAMP)
        AND (after_at IS NULL OR after_at < $window_end::TIMESTAMP)
    GROUP BY symbol
),
checked_days AS (
    SELECT
        symbol,
        date,
        arg_max(missing, checked_at) AS missing,
        arg_max(absent_at_source, checked_at) AS absent_at_source,
    FROM coverage
    WHERE date >= $window_start::TIMESTAMP::DATE
        AND date < $window_end::TIMESTAMP
    GROUP BY symbol, date
),
symbol_absences AS (
    SELECT
        symbol,
        CASE WHEN sum(missing) = 0 THEN sum(absent_at_source) ELSE 0 END::BIGINT AS absent_at_source,
    FROM checked_days
    GROUP BY symbol
),
symbol_facts AS (
    SELECT
        bounds.symbol AS symbol,
        coalesce(symbol_rows.rows, 0) AS rows,
        coalesce(symbol_gaps.missing, 0) AS missing,
        least(coalesce(symbol_gaps.missing, 0), coalesce(symbol_absences.absent_at_source, 0)) AS absent,
        coalesce(symbol_gaps.gaps, 0) AS gaps,
        symbol_rows.first_id AS first_id,
        symbol_rows.last_id AS last_id,
        symbol_gaps.first_missing_id AS first_missing_id,
        symbol_gaps.last_missing_id AS last_missing_id,
        symbol_gaps.missing_from AS missing_from,
        symbol_gaps.missing_until AS missing_until,
        bounds.first_at AS recorded_since,
        bounds.last_at AS recorded_until,
        (epoch_us(bounds.first_at) - epoch_us($window_start::TIMESTAMP)) / 1e6 AS late_by_seconds,
        (epoch_us($window_end::TIMESTAMP) - epoch_us(bounds.last_at)) / 1e6 AS early_by_seconds,
        coalesce(symbol_rows.usual_pause_seconds, 0) AS usual_pause_seconds,
    FROM bounds
    LEFT JOIN symbol_rows USING (symbol)
    LEFT JOIN symbol_gaps USING (symbol)
    LEFT JOIN symbol_absences USING (symbol)
)
SELECT
    symbol,
    CASE
        WHEN missing > absent THEN 'missing'
        WHEN recorded_since >= $window_end::TIMESTAMP OR recorded_until < $window_start::TIMESTAMP THEN 'not recorded'
        WHEN late_by_seconds > greatest($late_seconds::BIGINT, 50 * usual_pause_seconds) THEN 'begins late'
        WHEN early_by_seconds > greatest($early_seconds::BIGINT, 50 * usual_pause_seconds) THEN 'ends early'
        WHEN missing > 0 THEN 'absent'
        WHEN rows = 0 THEN 'no trades'
        ELSE 'complete'
    END AS verdict,
    rows,
    missing,
    absent,
    gaps,
    first_id,
    last_id,
    first_missing_id,
    last_missing_id,
    missing_from,
    missing_until,
    recorded_since,
    recorded_until,
FROM symbol_facts
ORDER BY symbol
