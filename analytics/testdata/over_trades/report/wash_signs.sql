-- wash_signs lists the symbols that traded in [window_start, window_end) with signs of wash
-- trading.
--
-- These are signs about a window, never about a trade, because the tape has no accounts. An honest
-- market maker shows some of them, and a careful cheat shows none. Compare symbols and days; no
-- single number is proof. With fewer than min_rows rows the measures are NULL.
--
-- Benford: the first digits of sizes that span several powers of ten follow log10(1 + 1/digit). The
-- chi-squared has 8 degrees of freedom and grows with the number of rows; the deviation does not. A
-- coarse step size breaks the law honestly. Round sizes have at most two digits before the trailing
-- zeros. A row is matched if the same second has a row of the same size with the other taker side.
-- Flat volume is that of minutes in which all rows have one price. After Cong, Li, Tang and Yang,
-- "Crypto Wash Trading" (2023).
--
-- title:   Wash trading signs
-- reads:   trades             from window_start
-- param:   window_start       TIMESTAMP  UTC, inclusive
-- param:   window_end         TIMESTAMP  UTC, exclusive
-- param:   min_rows           BIGINT     rows of the tape, >= 1; default 1000
-- column:  symbol             VARCHAR    as the exchange spells it
-- column:  rows               BIGINT     rows of the tape
-- column:  benford_chi2       DOUBLE     dimensionless, >= 0, of the first digits of qty; 1 % of
--                                        honest windows exceed 20.1
-- column:  benford_deviation  DOUBLE     percent, >= 0, mean distance of digit shares from the law
-- column:  round_share        DOUBLE     share of rows with a round qty, 0 to 1
-- column:  matched_share      DOUBLE     share of rows that are matched, 0 to 1
-- column:  flat_share         DOUBLE     share of quote_volume in flat minutes, 0 to 1
-- key:     symbol
WITH
-- Sizes, minutes and digits are counted separately: grouped by size and second together, nearly
-- every row would be its own group.
size_seconds AS (
    SELECT
        symbol,
        count(*) AS rows,
        count(*) FILTER (WHERE is_buyer_maker) AS sells,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, date_trunc('second', traded_at), round(qty * 1e8)
),
symbol_matches AS (
    SELECT
        symbol,
        sum(rows)::BIGINT AS rows,
        sum(2 * least(sells, rows - sells))::DOUBLE AS matched_rows,
    FROM size_seconds
    GROUP BY symbol
),
symbol_minutes AS (
    SELECT
        symbol,
        min(price) = max(price) AS is_flat,
        sum(price::DECIMAL(38, 8) * qty::DECIMAL(38, 8)) AS exact_quote_volume,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
    GROUP BY symbol, date_trunc('minute', traded_at)
),
symbol_volumes AS (
    SELECT
        symbol,
        sum(exact_quote_volume)::DOUBLE AS quote_volume,
        coalesce(sum(exact_quote_volume) FILTER (WHERE is_flat), 0)::DOUBLE AS flat_quote_volume,
    FROM symbol_minutes
    GROUP BY symbol
),
sizes AS (
    SELECT
        symbol,
        round(qty * 1e8) AS units,
        pow(10, floor(log10(nullif(units, 0)))) AS magnitude,
    FROM trades
    WHERE traded_at >= $window_start::TIMESTAMP
        AND traded_at < $window_end::TIMESTAMP
),
digit_rows AS (
    SELECT
        symbol,
        CASE WHEN magnitude IS NOT NULL THEN least(greatest(floor(units / magnitude), 1), 9)::BIGINT END AS digit,
        count(*) AS rows,
        count(*) FILTER (WHERE fmod(10 * units, magnitude) = 0) AS round_rows,
    FROM sizes
    GROUP BY symbol, digit
),
symbol_digits AS (
    SELECT
        symbol,
        sum(round_rows)::DOUBLE AS round_rows,
        [
            coalesce(sum(rows) FILTER (WHERE digit = 1), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 2), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 3), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 4), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 5), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 6), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 7), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 8), 0)::DOUBLE,
            coalesce(sum(rows) FILTER (WHERE digit = 9), 0)::DOUBLE,
        ] AS digits,
        list_sum(digits) AS sized_rows,
    FROM digit_rows
    GROUP BY symbol
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
FROM symbol_matches
INNER JOIN symbol_volumes USING (symbol)
INNER JOIN symbol_digits USING (symbol)
ORDER BY symbol
