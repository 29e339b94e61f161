-- wash_signs has a row for each symbol that traded in [window_start, window_end): how its trades differ from
-- those of people with different purposes. These are signs about a window, never about a trade, for the tape
-- has no accounts; an honest market maker shows some of them, and a careful cheat shows none. Compare symbols
-- and days, take no single number for a proof. With fewer than min_rows rows they are unknown.
--
-- Benford: the first digits of sizes that span several powers of ten follow log10(1 + 1/digit); the chi-squared
-- has 8 degrees of freedom and grows with the number of rows, the deviation does not. A coarse step size
-- breaks the law honestly. Round sizes have at most two digits other than zeros at the end. Matched are rows
-- for which the same second has a row of the same size and the other taker side. Flat is the volume of the
-- minutes in which all rows have one price. After Cong, Li, Tang and Yang, "Crypto Wash Trading" (2023).
--
-- title:   Wash trading signs
-- reads:   trades             from window_start
-- param:   window_start       TIMESTAMP  UTC, inclusive
-- param:   window_end         TIMESTAMP  UTC, exclusive
-- param:   min_rows           BIGINT     rows of the tape, >= 1; default 1000
-- column:  symbol             VARCHAR    as the exchange spells it
-- column:  rows               BIGINT     rows of the tape
-- column:  benford_chi2       DOUBLE     dimensionless, >= 0, of the first digits of qty; above 20.1 for one honest window in a hundred
-- column:  benford_deviation  DOUBLE     percent, >= 0, mean distance of the nine digits' shares from the law's
-- column:  round_share        DOUBLE     share of rows with a round qty, 0 to 1
-- column:  matched_share      DOUBLE     share of rows that are matched, 0 to 1
-- column:  flat_share         DOUBLE     share of quote_volume in flat minutes, 0 to 1
-- key:     symbol
WITH
size_seconds AS (
    SELECT
        symbol,
        date_trunc('second', traded_at) AS second,
        round(qty * 1e8) AS units,
        count(*) AS rows,
        count(*) FILTER (WHERE is_buyer_maker) AS sells,
        min(price) AS low,
        max(price) AS high,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8)) AS exact_quote_volume,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, second, units
),
sizes AS (
    SELECT
        symbol,
        date_trunc('minute', second) AS minute,
        rows,
        2 * least(sells, rows - sells) AS matched_rows,
        low,
        high,
        exact_quote_volume,
        units,
        pow(10, floor(log10(nullif(units, 0)))) AS magnitude,
    FROM size_seconds
),
symbol_minutes AS (
    SELECT
        symbol,
        minute,
        sum(rows) AS rows,
        sum(matched_rows) AS matched_rows,
        sum(rows) FILTER (WHERE fmod(10 * units, magnitude) = 0) AS round_rows,
        sum(rows) FILTER (WHERE units < 2 * magnitude) AS ones,
        sum(rows) FILTER (WHERE units >= 2 * magnitude AND units < 3 * magnitude) AS twos,
        sum(rows) FILTER (WHERE units >= 3 * magnitude AND units < 4 * magnitude) AS threes,
        sum(rows) FILTER (WHERE units >= 4 * magnitude AND units < 5 * magnitude) AS fours,
        sum(rows) FILTER (WHERE units >= 5 * magnitude AND units < 6 * magnitude) AS fives,
        sum(rows) FILTER (WHERE units >= 6 * magnitude AND units < 7 * magnitude) AS sixes,
        sum(rows) FILTER (WHERE units >= 7 * magnitude AND units < 8 * magnitude) AS sevens,
        sum(rows) FILTER (WHERE units >= 8 * magnitude AND units < 9 * magnitude) AS eights,
        sum(rows) FILTER (WHERE units >= 9 * magnitude) AS nines,
        sum(exact_quote_volume) AS exact_quote_volume,
        min(low) = max(high) AS is_flat,
    FROM sizes
    GROUP BY symbol, minute
),
symbol_counts AS (
    SELECT
        symbol,
        sum(rows)::BIGINT AS rows,
        sum(matched_rows)::DOUBLE AS matched_rows,
        coalesce(sum(round_rows), 0)::DOUBLE AS round_rows,
        [
            coalesce(sum(ones), 0)::DOUBLE,
            coalesce(sum(twos), 0)::DOUBLE,
            coalesce(sum(threes), 0)::DOUBLE,
            coalesce(sum(fours), 0)::DOUBLE,
            coalesce(sum(fives), 0)::DOUBLE,
            coalesce(sum(sixes), 0)::DOUBLE,
            coalesce(sum(sevens), 0)::DOUBLE,
            coalesce(sum(eights), 0)::DOUBLE,
            coalesce(sum(nines), 0)::DOUBLE,
        ] AS digits,
        sum(exact_quote_volume)::DOUBLE AS quote_volume,
        coalesce(sum(exact_quote_volume) FILTER (WHERE is_flat), 0)::DOUBLE AS flat_quote_volume,
    FROM symbol_minutes
    GROUP BY symbol
),
symbol_digits AS (
    SELECT
        symbol,
        rows,
        matched_rows,
        round_rows,
        digits,
        list_sum(digits) AS sized_rows,
        quote_volume,
        flat_quote_volume,
    FROM symbol_counts
)
SELECT
    symbol,
    rows,
    CASE
        WHEN rows >= $min_rows::BIGINT THEN list_sum(
            list_transform(
                digits,
                lambda found, digit: pow(found - sized_rows * log10(1 + 1 / digit), 2)
                    / nullif(sized_rows * log10(1 + 1 / digit), 0)
            )
        )
    END AS benford_chi2,
    CASE
        WHEN rows >= $min_rows::BIGINT THEN list_sum(
            list_transform(
                digits,
                lambda found, digit: abs(found / nullif(sized_rows, 0) - log10(1 + 1 / digit))
            )
        ) / 9 * 100
    END AS benford_deviation,
    CASE WHEN rows >= $min_rows::BIGINT THEN round_rows / rows END AS round_share,
    CASE WHEN rows >= $min_rows::BIGINT THEN matched_rows / rows END AS matched_share,
    CASE WHEN rows >= $min_rows::BIGINT THEN flat_quote_volume / nullif(quote_volume, 0) END AS flat_share,
FROM symbol_digits
ORDER BY symbol
