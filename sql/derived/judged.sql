-- judged is what the detectors judged, from the files that detect writes: one for each UTC date, with
-- groups of detectors and symbols that share windows. A damaged file is left out.
WITH groups AS (
    SELECT unnest(from_json(
        try_cast(content AS JSON) -> 'groups',
        '[{
            "detectors": ["VARCHAR"],
            "symbols": ["VARCHAR"],
            "windows": [{"start": "VARCHAR", "end": "VARCHAR", "reason": "VARCHAR"}]
        }]'
    )) AS part,
    FROM judged_files
),

judged_detectors AS (
    SELECT
        unnest(part.detectors) AS detector,
        part.symbols AS symbols,
        part.windows AS windows,
    FROM groups
),

judged_symbols AS (
    SELECT
        detector,
        unnest(symbols) AS symbol,
        windows,
    FROM judged_detectors
),

judged_windows AS (
    SELECT
        detector,
        symbol,
        unnest(windows) AS part,
    FROM judged_symbols
)

SELECT
    detector,
    symbol,
    part.start::TIMESTAMP AS start_at,
    part.end::TIMESTAMP AS end_at,
    part.reason AS reason,
FROM judged_windows
