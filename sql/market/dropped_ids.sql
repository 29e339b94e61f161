-- The ids that were removed on purpose, from the state file whose path is filled in. It may not exist.
CREATE VIEW dropped_ids AS
SELECT
    symbol,
    run[1] AS first_id,
    run[2] AS last_id,
    make_timestamp(run[3]) AS first_at,
    make_timestamp(run[4]) AS last_at,
FROM (
    SELECT
        entry.key AS symbol,
        unnest(entry.value) AS run,
    FROM (
        SELECT unnest(map_entries(try_cast(try_cast(content AS JSON) -> 'symbols' AS MAP(VARCHAR, BIGINT[][])))) AS entry,
        FROM read_text(%s)
    )
)
ORDER BY
    symbol,
    first_id;
