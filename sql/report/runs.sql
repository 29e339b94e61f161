-- runs lists the jobs that ran in [window_start, window_end), by the start of their runs.
--
-- Only finished runs are on the tape, so a run in progress does not count.
--
-- reads:   runs             from window_start
-- param:   window_start     TIMESTAMP  UTC, inclusive
-- param:   window_end       TIMESTAMP  UTC, exclusive
-- column:  job              VARCHAR    the job's name
-- column:  runs             BIGINT     runs that started in the window
-- column:  ok               BIGINT     runs that ended well
-- column:  not_ok           BIGINT     runs that ended otherwise
-- column:  last_outcome     VARCHAR    outcome of the run that started last
-- column:  last_started_at  TIMESTAMP  UTC, start of that run
-- column:  longest_seconds  DOUBLE     seconds, the longest run
-- column:  rows             BIGINT     rows written by all runs
-- column:  last_message     VARCHAR    message of the last run that did not end well
-- key:     job
SELECT
    job,
    count(*) AS runs,
    count(*) FILTER (WHERE outcome = 'ok') AS ok,
    count(*) FILTER (WHERE outcome IS DISTINCT FROM 'ok') AS not_ok,
    arg_max(outcome, (started_at, id)) AS last_outcome,
    max(started_at) AS last_started_at,
    max(epoch_us(finished_at) - epoch_us(started_at)) / 1e6 AS longest_seconds,
    coalesce(sum(rows), 0)::BIGINT AS rows,
    arg_max(message, (started_at, id)) FILTER (WHERE outcome IS DISTINCT FROM 'ok') AS last_message,
FROM runs
WHERE started_at >= $window_start::TIMESTAMP
    AND started_at < $window_end::TIMESTAMP
GROUP BY job
ORDER BY job
