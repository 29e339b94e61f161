-- completeness lists the symbols on the tape and whether every trade in [window_start, window_end)
-- is on the tape.
--
-- It compares ids, not times. Inside the part of a symbol's record that is known, a missing trade
-- shows as a gap in the ids. The missing ids are those of every gap except gaps whose two
-- neighbours lie on the same side of the window: all of them may be in the window, and some may be
-- around it. Before known_since and from known_until on, nothing shows how many trades are missing,
-- not even whether any are.
--
-- Verdicts, the first that applies: missing (ids are missing and may still be fetched); not
-- recorded (nothing of the window is known); begins late (the record is known only from a time
-- after window_start); ends early (it is known only until a time before window_end); conflict (an
-- id has two contents); dropped (ids were removed on purpose and not restored); absent (the
-- exchange itself lacks all missing ids); no trades (all of the window is known, and nothing traded
-- in it); complete. A symbol of which everything was dropped is listed where the drop concerns the
-- window. If the record begins with what a drop left, known_since_by is drop.
--
-- Reads trades, not summaries: what is complete is decided by the tape itself.
--
-- reads:   trades            from window_start
-- reads:   gaps              all
-- reads:   bounds            all
-- reads:   open_conflicts    all
-- reads:   dropped_ids       all
-- reads:   coverage          from window_start
-- param:   window_start      TIMESTAMP  UTC, inclusive
-- param:   window_end        TIMESTAMP  UTC, exclusive
-- column:  symbol            VARCHAR    as the exchange spells it
-- column:  verdict           VARCHAR    missing, not recorded, begins late, ends early, conflict,
--                                       dropped, absent, no trades or complete
-- column:  rows              BIGINT     rows of the tape in the window
-- column:  missing           BIGINT     ids that are not on the tape, except for dropped ones
-- column:  absent            BIGINT     missing ids that the exchange itself does not have
-- column:  dropped           BIGINT     ids that were removed on purpose and not restored
-- column:  conflicts         BIGINT     ids with two contents that are not resolved
-- column:  gaps              BIGINT     gaps that the missing ids form
-- column:  first_id          BIGINT     lowest id in the window
-- column:  last_id           BIGINT     highest id in the window
-- column:  first_missing_id  BIGINT     lowest id that is missing
-- column:  last_missing_id   BIGINT     highest id that is missing
-- column:  missing_from      TIMESTAMP  UTC, last trade before the first gap
-- column:  missing_until     TIMESTAMP  UTC, first trade after the last gap
-- column:  known_since       TIMESTAMP  UTC, from then on every missing trade shows as a gap; 1970-01-01
--                                       if the record begins with id 0
-- column:  known_since_by    VARCHAR    what proves it: trade, stream, exchange or drop
-- column:  known_until       TIMESTAMP  UTC, until then every missing trade shows as a gap
-- column:  known_until_by    VARCHAR    what proves it: trade, stream or exchange
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
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol
),
window_gaps AS (
    SELECT
        symbol,
        first_id,
        last_id,
        after_at,
        before_at,
    FROM gaps
    WHERE (before_at IS NULL OR before_at >= $window_start::TIMESTAMP)
        AND (after_at IS NULL OR after_at < $window_end::TIMESTAMP)
),
window_drops AS (
    SELECT
        symbol,
        first_id,
        last_id,
    FROM dropped_ids
    WHERE last_at >= $window_start::TIMESTAMP
        AND first_at < $window_end::TIMESTAMP
),
gap_drops AS (
    SELECT
        window_gaps.symbol AS symbol,
        window_gaps.first_id AS first_id,
        window_gaps.last_id AS last_id,
        any_value(window_gaps.after_at) AS after_at,
        any_value(window_gaps.before_at) AS before_at,
        coalesce(
            sum(
                least(window_gaps.last_id, dropped_ids.last_id)
                - greatest(window_gaps.first_id, dropped_ids.first_id) + 1
            ) FILTER (dropped_ids.first_id IS NOT NULL),
            0
        ) AS dropped,
        max(dropped_ids.last_id) FILTER (dropped_ids.first_id <= window_gaps.first_id) AS dropped_to,
        min(dropped_ids.first_id) FILTER (dropped_ids.last_id >= window_gaps.last_id) AS dropped_from,
    FROM window_gaps
    LEFT JOIN dropped_ids
        ON window_gaps.symbol = dropped_ids.symbol
        AND window_gaps.first_id <= dropped_ids.last_id
        AND window_gaps.last_id >= dropped_ids.first_id
    GROUP BY window_gaps.symbol, window_gaps.first_id, window_gaps.last_id
),
symbol_drops AS (
    SELECT
        symbol,
        sum(last_id - first_id + 1)::BIGINT AS dropped,
    FROM window_drops
    GROUP BY symbol
),
symbol_gaps AS (
    SELECT
        symbol,
        sum(last_id - first_id + 1 - dropped)::BIGINT AS missing,
        count(*) AS gaps,
        min(coalesce(dropped_to + 1, first_id)) AS first_missing_id,
        max(coalesce(dropped_from - 1, last_id)) AS last_missing_id,
        arg_min(after_at, first_id) AS missing_from,
        arg_max(before_at, last_id) AS missing_until,
    FROM gap_drops
    WHERE last_id - first_id + 1 > dropped
    GROUP BY symbol
),
symbol_conflicts AS (
    SELECT
        symbol,
        count(DISTINCT id) AS conflicts,
    FROM open_conflicts
    WHERE (traded_at >= $window_start::TIMESTAMP AND traded_at < $window_end::TIMESTAMP)
        OR (other_traded_at >= $window_start::TIMESTAMP AND other_traded_at < $window_end::TIMESTAMP)
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
listed_symbols AS (
    SELECT symbol FROM bounds
    UNION
    SELECT symbol FROM symbol_drops
),
symbol_facts AS (
    SELECT
        listed_symbols.symbol AS symbol,
        coalesce(symbol_rows.rows, 0) AS rows,
        coalesce(symbol_gaps.missing, 0) AS missing,
        least(coalesce(symbol_gaps.missing, 0), coalesce(symbol_absences.absent_at_source, 0)) AS absent,
        coalesce(symbol_drops.dropped, 0) AS dropped,
        coalesce(symbol_conflicts.conflicts, 0) AS conflicts,
        coalesce(symbol_gaps.gaps, 0) AS gaps,
        symbol_rows.first_id AS first_id,
        symbol_rows.last_id AS last_id,
        symbol_gaps.first_missing_id AS first_missing_id,
        symbol_gaps.last_missing_id AS last_missing_id,
        symbol_gaps.missing_from AS missing_from,
        symbol_gaps.missing_until AS missing_until,
        bounds.known_since AS known_since,
        bounds.known_since_by AS known_since_by,
        bounds.known_until AS known_until,
        bounds.known_until_by AS known_until_by,
        bounds.first_at AS recorded_since,
        bounds.last_at AS recorded_until,
    FROM listed_symbols
    LEFT JOIN bounds USING (symbol)
    LEFT JOIN symbol_rows USING (symbol)
    LEFT JOIN symbol_gaps USING (symbol)
    LEFT JOIN symbol_drops USING (symbol)
    LEFT JOIN symbol_conflicts USING (symbol)
    LEFT JOIN symbol_absences USING (symbol)
)
SELECT
    symbol,
    CASE
        WHEN missing > absent THEN 'missing'
        WHEN known_since IS NULL OR known_since_by = 'drop' AND known_since > $window_start::TIMESTAMP THEN 'dropped'
        WHEN known_since >= $window_end::TIMESTAMP OR known_until <= $window_start::TIMESTAMP AND rows = 0
            THEN 'not recorded'
        WHEN known_since > $window_start::TIMESTAMP THEN 'begins late'
        WHEN known_until < $window_end::TIMESTAMP THEN 'ends early'
        WHEN conflicts > 0 THEN 'conflict'
        WHEN dropped > 0 THEN 'dropped'
        WHEN missing > 0 THEN 'absent'
        WHEN rows = 0 THEN 'no trades'
        ELSE 'complete'
    END AS verdict,
    rows,
    missing,
    absent,
    dropped,
    conflicts,
    gaps,
    first_id,
    last_id,
    first_missing_id,
    last_missing_id,
    missing_from,
    missing_until,
    known_since,
    known_since_by,
    known_until,
    known_until_by,
    recorded_since,
    recorded_until,
FROM symbol_facts
ORDER BY symbol
