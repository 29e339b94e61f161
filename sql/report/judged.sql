-- judged lists the symbols on the tape: how many minutes of [window_start, window_end) the detectors
-- have judged, and why not the others. Without alerts, only a judged minute is known to be quiet.
--
-- The minutes are those whose alerts are in the window: from the minute of window_start to the last
-- one that ends by window_end. A minute counts as judged if every detector that judged anything in
-- the window judged it. If detectors have several reasons not to, the first of the columns counts.
--
-- title:   Judged by detectors
-- reads:   judged              all
-- reads:   bounds              all
-- param:   window_start        TIMESTAMP  UTC, inclusive
-- param:   window_end          TIMESTAMP  UTC, exclusive
-- param:   detectors           VARCHAR    only these, separated by commas; '' is all; default ''
-- column:  symbol              VARCHAR    as the exchange spells it
-- column:  minutes             BIGINT     minutes of the window
-- column:  judged_minutes      BIGINT     minutes that all detectors in use have judged
-- column:  failed_minutes      BIGINT     minutes in which a detector failed
-- column:  unrecorded_minutes  BIGINT     minutes that the symbol's record does not cover
-- column:  unseen_minutes      BIGINT     minutes that a detector has not looked at
-- column:  changed_minutes     BIGINT     minutes that an earlier version of a detector judged
-- column:  waiting_minutes     BIGINT     minutes that wait for missing ids
-- column:  gap_minutes         BIGINT     minutes that lack ids that the exchange does not have
-- column:  dropped_minutes     BIGINT     minutes that lack ids or alerts that were dropped on purpose
-- column:  history_minutes     BIGINT     minutes that lack the history that a detector compares with
-- column:  detectors           BIGINT     detectors in use: that judged or looked at any minute
-- column:  unjudged_by         VARCHAR    detectors in use that did not judge all minutes
-- key:     symbol
WITH
spans AS (
    SELECT
        symbol,
        detector,
        greatest(start_at, date_trunc('minute', $window_start::TIMESTAMP)) AS starts_at,
        least(end_at, date_trunc('minute', $window_end::TIMESTAMP)) AS ends_at,
        coalesce(reason, 'judged') AS reason,
    FROM judged
    WHERE start_at < date_trunc('minute', $window_end::TIMESTAMP)
        AND end_at > date_trunc('minute', $window_start::TIMESTAMP)
        AND ($detectors::VARCHAR = '' OR list_contains(string_split($detectors::VARCHAR, ','), detector))
),
used_detectors AS (
    SELECT DISTINCT
        detector,
    FROM spans
),
recorded AS (
    SELECT
        symbol,
        greatest(
            date_trunc('minute', known_since + INTERVAL 1 MINUTE - INTERVAL 1 MICROSECOND),
            date_trunc('minute', $window_start::TIMESTAMP)
        ) AS starts_at,
        least(date_trunc('minute', known_until), date_trunc('minute', $window_end::TIMESTAMP)) AS ends_at,
    FROM bounds
),
events AS (
    SELECT symbol, starts_at AS "at", reason, 1 AS change FROM spans
    UNION ALL
    SELECT symbol, ends_at, reason, -1 FROM spans
    UNION ALL
    SELECT symbol, starts_at, 'recorded', 1 FROM recorded WHERE starts_at < ends_at
    UNION ALL
    SELECT symbol, ends_at, 'recorded', -1 FROM recorded WHERE starts_at < ends_at
    UNION ALL
    SELECT symbol, date_trunc('minute', $window_start::TIMESTAMP), 'none', 0 FROM bounds
    UNION ALL
    SELECT symbol, date_trunc('minute', $window_end::TIMESTAMP), 'none', 0 FROM bounds
),
changes AS (
    SELECT
        symbol,
        "at",
        coalesce(sum(change) FILTER (reason = 'judged'), 0) AS judged,
        coalesce(sum(change) FILTER (reason = 'failed'), 0) AS failed,
        coalesce(sum(change) FILTER (reason = 'changed'), 0) AS changed,
        coalesce(sum(change) FILTER (reason = 'waiting'), 0) AS waiting,
        coalesce(sum(change) FILTER (reason = 'gap'), 0) AS gap,
        coalesce(sum(change) FILTER (reason = 'dropped'), 0) AS dropped,
        coalesce(sum(change) FILTER (reason NOT IN ('recorded', 'none')), 0) AS seen,
        coalesce(sum(change) FILTER (reason = 'recorded'), 0) AS recorded,
    FROM events
    GROUP BY symbol, "at"
),
slices AS (
    SELECT
        symbol,
        date_diff('minute', "at", lead("at") OVER by_time) AS minutes,
        (SELECT count(*) FROM used_detectors) AS detectors,
        sum(judged) OVER by_time AS judged,
        sum(failed) OVER by_time AS failed,
        sum(changed) OVER by_time AS changed,
        sum(waiting) OVER by_time AS waiting,
        sum(gap) OVER by_time AS gap,
        sum(dropped) OVER by_time AS dropped,
        sum(seen) OVER by_time AS seen,
        sum(recorded) OVER by_time AS recorded,
    FROM changes
    WINDOW by_time AS (PARTITION BY symbol ORDER BY "at")
),
reasoned_slices AS (
    SELECT
        symbol,
        minutes,
        detectors,
        CASE
            WHEN detectors > 0 AND judged = detectors THEN 'judged'
            WHEN failed > 0 THEN 'failed'
            WHEN seen < detectors AND recorded = 0 OR detectors = 0 AND recorded = 0 THEN 'unrecorded'
            WHEN seen < detectors OR detectors = 0 THEN 'unseen'
            WHEN changed > 0 THEN 'changed'
            WHEN waiting > 0 THEN 'waiting'
            WHEN gap > 0 THEN 'gap'
            WHEN dropped > 0 THEN 'dropped'
            ELSE 'history'
        END AS reason,
    FROM slices
    WHERE minutes > 0
),
judged_by_detector AS (
    SELECT
        bounds.symbol AS symbol,
        used_detectors.detector AS detector,
        coalesce(sum(date_diff('minute', spans.starts_at, spans.ends_at)) FILTER (spans.reason = 'judged'), 0) AS minutes,
    FROM bounds
    CROSS JOIN used_detectors
    LEFT JOIN spans
        ON bounds.symbol = spans.symbol
        AND used_detectors.detector = spans.detector
    GROUP BY bounds.symbol, used_detectors.detector
),
unjudged AS (
    SELECT
        symbol,
        string_agg(detector, ', ' ORDER BY detector) AS detectors,
    FROM judged_by_detector
    WHERE minutes < date_diff(
            'minute',
            date_trunc('minute', $window_start::TIMESTAMP),
            date_trunc('minute', $window_end::TIMESTAMP)
        )
    GROUP BY symbol
),
totals AS (
    SELECT
        symbol,
        sum(minutes)::BIGINT AS minutes,
        coalesce(sum(minutes) FILTER (reason = 'judged'), 0)::BIGINT AS judged_minutes,
        coalesce(sum(minutes) FILTER (reason = 'failed'), 0)::BIGINT AS failed_minutes,
        coalesce(sum(minutes) FILTER (reason = 'unrecorded'), 0)::BIGINT AS unrecorded_minutes,
        coalesce(sum(minutes) FILTER (reason = 'unseen'), 0)::BIGINT AS unseen_minutes,
        coalesce(sum(minutes) FILTER (reason = 'changed'), 0)::BIGINT AS changed_minutes,
        coalesce(sum(minutes) FILTER (reason = 'waiting'), 0)::BIGINT AS waiting_minutes,
        coalesce(sum(minutes) FILTER (reason = 'gap'), 0)::BIGINT AS gap_minutes,
        coalesce(sum(minutes) FILTER (reason = 'dropped'), 0)::BIGINT AS dropped_minutes,
        coalesce(sum(minutes) FILTER (reason = 'history'), 0)::BIGINT AS history_minutes,
        any_value(detectors) AS detectors,
    FROM reasoned_slices
    GROUP BY symbol
)
SELECT
    totals.symbol AS symbol,
    totals.minutes AS minutes,
    totals.judged_minutes AS judged_minutes,
    totals.failed_minutes AS failed_minutes,
    totals.unrecorded_minutes AS unrecorded_minutes,
    totals.unseen_minutes AS unseen_minutes,
    totals.changed_minutes AS changed_minutes,
    totals.waiting_minutes AS waiting_minutes,
    totals.gap_minutes AS gap_minutes,
    totals.dropped_minutes AS dropped_minutes,
    totals.history_minutes AS history_minutes,
    totals.detectors AS detectors,
    unjudged.detectors AS unjudged_by,
FROM totals
LEFT JOIN unjudged USING (symbol)
WHERE totals.symbol IN (SELECT bounds.symbol FROM bounds)
ORDER BY totals.symbol
