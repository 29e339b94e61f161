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
-- reads:   hour_sizes         from window_start
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
symbol_sizes AS (
    SELECT
        symbol,
        sum(rows)::BIGINT AS rows,
        sum(matched_rows)::DOUBLE AS matched_rows,
        sum(round_rows)::DOUBLE AS round_rows,
        [
            sum(digit_rows[1])::DOUBLE,
            sum(digit_rows[2])::DOUBLE,
            sum(digit_rows[3])::DOUBLE,
            sum(digit_rows[4])::DOUBLE,
            sum(digit_rows[5])::DOUBLE,
            sum(digit_rows[6])::DOUBLE,
            sum(digit_rows[7])::DOUBLE,
            sum(digit_rows[8])::DOUBLE,
            sum(digit_rows[9])::DOUBLE,
        ] AS digits,
        list_sum(digits) AS sized_rows,
        sum(quote_volume)::DOUBLE AS quote_volume,
        sum(flat_quote_volume)::DOUBLE AS flat_quote_volume,
    FROM hour_sizes($window_start::TIMESTAMP, $window_end::TIMESTAMP) AS sizes
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
FROM symbol_sizes
ORDER BY symbol
