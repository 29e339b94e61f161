-- incidents lists the alerts of the window, the newest first.
--
-- The at of an alert is the instant from which it could be known: the end of the judged minutes.
-- The alerts about [window_start, window_end) are therefore those in (window_start, window_end].
--
-- reads:   alerts        from window_start
-- param:   window_start  TIMESTAMP  UTC, exclusive for alerts
-- param:   window_end    TIMESTAMP  UTC, inclusive for alerts
-- column:  at            TIMESTAMP  UTC, known from then on
-- column:  severity      VARCHAR    low, medium or high
-- column:  symbol        VARCHAR    as the exchange spells it
-- column:  detector      VARCHAR    the query that raised it
-- column:  score         DOUBLE     the detector's own measure, see its header
-- column:  message       VARCHAR    what happened, for a person
-- column:  first_id      BIGINT     the first row it is about
-- column:  last_id       BIGINT     the last row it is about
-- key:     at, symbol, detector
SELECT
    "at",
    severity,
    symbol,
    detector,
    score,
    message,
    first_id,
    last_id,
FROM alerts
WHERE "at" > $window_start::TIMESTAMP
    AND "at" <= $window_end::TIMESTAMP
ORDER BY "at" DESC, symbol, detector
