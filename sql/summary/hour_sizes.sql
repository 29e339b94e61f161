-- hour_sizes lists UTC hours in which a symbol traded, with counts of the sizes of its rows.
--
-- A size is qty in units of 0.00000001. A row is matched if the same second has a row of the same size
-- with the other taker side. A round size has at most two digits before the trailing zeros. Flat
-- volume is that of minutes in which all rows have one price.
--
-- reads:   trades             all
-- column:  symbol             VARCHAR         as the exchange spells it
-- column:  hour               TIMESTAMP       UTC, start of the hour
-- column:  rows               BIGINT          rows of the tape
-- column:  matched_rows       BIGINT          rows that are matched
-- column:  round_rows         BIGINT          rows of a round size
-- column:  digit_rows         BIGINT[]        rows by the first digit of their size, 1 to 9
-- column:  quote_volume       DECIMAL(38,16)  quote asset, sum of price times qty
-- column:  flat_quote_volume  DECIMAL(38,16)  quote asset, of flat minutes
-- key:     symbol, hour
WITH
-- Sizes, minutes and digits are counted separately: grouped by size and second together, nearly
-- every row would be its own group.
size_seconds AS (
    SELECT
        symbol,
        date_trunc('second', traded_at) AS second,
        count(*) AS rows,
        count(*) FILTER (is_buyer_maker) AS sells,
    FROM trades
    GROUP BY symbol, second, round(qty * 1e8)
),
hour_matches AS (
    SELECT
        symbol,
        date_trunc('hour', second) AS hour,
        sum(rows)::BIGINT AS rows,
        sum(2 * least(sells, rows - sells))::BIGINT AS matched_rows,
    FROM size_seconds
    GROUP BY symbol, hour
),
symbol_minutes AS (
    SELECT
        symbol,
        date_trunc('minute', traded_at) AS minute,
        min(price) = max(price) AS is_flat,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8)) AS exact_quote_volume,
    FROM trades
    GROUP BY symbol, minute
),
hour_volumes AS (
    SELECT
        symbol,
        date_trunc('hour', minute) AS hour,
        sum(exact_quote_volume) AS quote_volume,
        coalesce(sum(exact_quote_volume) FILTER (is_flat), 0) AS flat_quote_volume,
    FROM symbol_minutes
    GROUP BY symbol, hour
),
sizes AS (
    SELECT
        symbol,
        date_trunc('hour', traded_at) AS hour,
        round(qty * 1e8) AS units,
        pow(10, floor(log10(nullif(units, 0)))) AS magnitude,
    FROM trades
),
sizes_by_digit AS (
    SELECT
        symbol,
        hour,
        CASE WHEN magnitude IS NOT NULL THEN least(greatest(floor(units / magnitude), 1), 9)::BIGINT END AS digit,
        count(*) AS rows,
        count(*) FILTER (fmod(10 * units, magnitude) = 0) AS round_rows,
    FROM sizes
    GROUP BY symbol, hour, digit
),
hour_digits AS (
    SELECT
        symbol,
        hour,
        sum(round_rows)::BIGINT AS round_rows,
        [
            coalesce(sum(rows) FILTER (digit = 1), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 2), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 3), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 4), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 5), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 6), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 7), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 8), 0)::BIGINT,
            coalesce(sum(rows) FILTER (digit = 9), 0)::BIGINT,
        ] AS digit_rows,
    FROM sizes_by_digit
    GROUP BY symbol, hour
)
SELECT
    symbol,
    hour,
    rows,
    matched_rows,
    round_rows,
    digit_rows,
    quote_volume,
    flat_quote_volume,
FROM hour_matches
INNER JOIN hour_volumes USING (symbol, hour)
INNER JOIN hour_digits USING (symbol, hour)
ORDER BY symbol, hour
