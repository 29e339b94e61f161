-- compared lists the symbols that traded in [window_start, window_end) or in the window of the same length
-- just before: how much more or less they traded, and how their prices moved then.
--
-- The window before is compared only if every trade of the symbol in it is on the tape. Otherwise its columns
-- are blank, and before says why, the first that applies: unreadable (segments of it cannot be read), not
-- recorded, begins late or ends early (the record is known only in a part of it), conflict (an id has two
-- contents), dropped (ids were removed on purpose) or missing (ids are missing).
--
-- title:               Compared with the window before
-- reads:   hours                all
-- reads:   bounds               all
-- reads:   gaps                 all
-- reads:   open_conflicts       all
-- reads:   dropped_ids          all
-- param:   window_start         TIMESTAMP  UTC, inclusive
-- param:   window_end           TIMESTAMP  UTC, exclusive
-- param:   unreadable           BIGINT     segments of the window before that cannot be read; default 0
-- column:  symbol               VARCHAR    as the exchange spells it
-- column:  before               VARCHAR    complete, or why the window before is not compared
-- column:  trades               BIGINT     raw trades
-- column:  trades_before        BIGINT     raw trades in the window before
-- column:  trades_change        DOUBLE     percent, trades over trades_before
-- column:  quote_volume         DOUBLE     quote asset, sum of price times qty
-- column:  quote_volume_before  DOUBLE     quote asset, the same in the window before
-- column:  quote_volume_change  DOUBLE     percent, quote_volume over quote_volume_before
-- column:  change               DOUBLE     percent, close over open
-- column:  change_before        DOUBLE     percent, close over open in the window before
-- key:     symbol
WITH
these AS (
    SELECT
        symbol,
        sum(trades)::BIGINT AS all_trades,
        sum(quote_volume)::DOUBLE AS all_quote_volume,
        arg_min(open, first_id) AS first_price,
        arg_max(close, last_id) AS last_price,
    FROM hours($window_start::TIMESTAMP, $window_end::TIMESTAMP)
    GROUP BY symbol
),
earlier AS (
    SELECT
        symbol,
        sum(trades)::BIGINT AS all_trades,
        sum(quote_volume)::DOUBLE AS all_quote_volume,
        arg_min(open, first_id) AS first_price,
        arg_max(close, last_id) AS last_price,
    FROM hours(
        $window_start::TIMESTAMP - ($window_end::TIMESTAMP - $window_start::TIMESTAMP),
        $window_start::TIMESTAMP
    )
    GROUP BY symbol
),
window_before AS (
    SELECT
        $window_start::TIMESTAMP - ($window_end::TIMESTAMP - $window_start::TIMESTAMP) AS starts_at,
        $window_start::TIMESTAMP AS ends_at,
),
gap_symbols AS (
    SELECT DISTINCT symbol
    FROM gaps
    CROSS JOIN window_before
    WHERE (before_at IS NULL OR before_at >= starts_at)
        AND (after_at IS NULL OR after_at < ends_at)
),
conflict_symbols AS (
    SELECT DISTINCT symbol
    FROM open_conflicts
    CROSS JOIN window_before
    WHERE (traded_at >= starts_at AND traded_at < ends_at)
        OR (other_traded_at >= starts_at AND other_traded_at < ends_at)
),
drop_symbols AS (
    SELECT DISTINCT symbol
    FROM dropped_ids
    CROSS JOIN window_before
    WHERE last_at >= starts_at
        AND first_at < ends_at
),
traded_symbols AS (
    SELECT symbol FROM these
    UNION
    SELECT symbol FROM earlier
),
symbol_states AS (
    SELECT
        traded_symbols.symbol,
        CASE
            WHEN $unreadable::BIGINT > 0 THEN 'unreadable'
            WHEN bounds.symbol IS NULL OR known_since >= ends_at OR known_until <= starts_at THEN 'not recorded'
            WHEN known_since > starts_at THEN 'begins late'
            WHEN known_until < ends_at THEN 'ends early'
            WHEN traded_symbols.symbol IN (SELECT symbol FROM conflict_symbols) THEN 'conflict'
            WHEN traded_symbols.symbol IN (SELECT symbol FROM drop_symbols) THEN 'dropped'
            WHEN traded_symbols.symbol IN (SELECT symbol FROM gap_symbols) THEN 'missing'
            ELSE 'complete'
        END AS before,
    FROM traded_symbols
    CROSS JOIN window_before
    LEFT JOIN bounds USING (symbol)
),
compared_symbols AS (
    SELECT
        symbol,
        before,
        coalesce(these.all_trades, 0) AS trades,
        CASE WHEN before = 'complete' THEN coalesce(earlier.all_trades, 0) END AS trades_before,
        coalesce(these.all_quote_volume, 0) AS quote_volume,
        CASE WHEN before = 'complete' THEN coalesce(earlier.all_quote_volume, 0) END AS quote_volume_before,
        (these.last_price - these.first_price) / nullif(these.first_price, 0) * 100 AS change,
        CASE
            WHEN before = 'complete' THEN (earlier.last_price - earlier.first_price) / nullif(earlier.first_price, 0) * 100
        END AS change_before,
    FROM symbol_states
    LEFT JOIN these USING (symbol)
    LEFT JOIN earlier USING (symbol)
)
SELECT
    symbol,
    before,
    trades,
    trades_before,
    (trades - trades_before) / nullif(trades_before, 0) * 100 AS trades_change,
    quote_volume,
    quote_volume_before,
    (quote_volume - quote_volume_before) / nullif(quote_volume_before, 0) * 100 AS quote_volume_change,
    change,
    change_before,
FROM compared_symbols
ORDER BY symbol
