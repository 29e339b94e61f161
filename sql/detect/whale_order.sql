-- whale_order lists minutes in which one taker order was several times the largest of the 24 hours
-- before and the price moved.
--
-- A taker order is all trades of a symbol in one millisecond with the taker on the same side. The
-- move is the minute's last price over the last price before it. The absolute floor keeps small
-- symbols quiet; it is in quote asset, so each kind of quote asset has its own.
--
-- Needs min_minutes recorded minutes before the minute, and no missing ids from the last price
-- before it, at most 24 hours old, to its end; otherwise the minute is not judged. A minute with
-- missing ids, and the one in which the record of a symbol begins, do not count as recorded.
--
-- Its baseline is made of minutes. It reads the trades of the few minutes found, not summaries:
-- a minute does not keep its orders.
--
-- Limits: it misses orders that are split or hidden (icebergs). The first order after a quiet day
-- looks large. On thin alt/BTC pairs from 2018 to 2021: 0.06 alerts per symbol and day. One
-- symbol-day in 50 reaches medium severity, one in 100 high.
--
-- reads:    minutes         from 24 hours before window_start
-- reads:    trades          from window_start
-- param:    window_start    TIMESTAMP  UTC, inclusive, on a minute
-- param:    window_end      TIMESTAMP  UTC, exclusive, on a minute
-- param:    min_ratio       DOUBLE     order over the largest before, > 1; default 3
-- param:    min_move        DOUBLE     move as a fraction of the price, up or down; default 0.01
-- param:    min_quote       DOUBLE     quote asset, if none of the next three; default 10000
-- param:    min_quote_btc   DOUBLE     BTC, for pairs quoted in BTC; default 0.2
-- param:    min_quote_eth   DOUBLE     ETH, for pairs quoted in ETH; default 4
-- param:    min_quote_bnb   DOUBLE     BNB, for pairs quoted in BNB; default 20
-- param:    min_minutes     BIGINT     recorded minutes, of 1440; default 720
-- param:    medium_ratio    DOUBLE     dimensionless, for medium severity; default 6
-- param:    high_ratio      DOUBLE     dimensionless, for high severity; default 7.4
-- column:   symbol          VARCHAR    as the exchange spells it
-- column:   at              TIMESTAMP  UTC, end of the minute: known from then on
-- column:   score           DOUBLE     order over the largest of the 24 hours before, dimensionless
-- column:   severity        VARCHAR    low, medium or high
-- column:   message         VARCHAR    one sentence
-- column:   first_id        BIGINT     first trade of the order
-- column:   last_id         BIGINT     last trade of the order
-- column:   side            VARCHAR    the taker's: buy or sell
-- column:   quote_qty       DOUBLE     quote asset, of the order
-- column:   largest_before  DOUBLE     quote asset, largest order of the 24 hours before
-- column:   move            DOUBLE     last price of the minute over the last price before it, less
--                                      1
-- column:   ordered_at      TIMESTAMP  UTC, when the order traded
-- key:      symbol, at
-- needs:    whole    1 minute
-- needs:    price    1 minute before
-- needs:    history  min_minutes of 24 hours before them
-- threshold: min_ratio
-- cooldown: 30 minutes
WITH
-- Symbols without an order above the floor are left out here because the next steps read a whole
-- day.
large_minutes AS (
    SELECT
        symbol,
        minute,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP
        AND minute < $window_end::TIMESTAMP
        AND largest_order >= by_quote_asset(
            symbol,
            $min_quote_btc::DOUBLE,
            $min_quote_eth::DOUBLE,
            $min_quote_bnb::DOUBLE,
            $min_quote::DOUBLE
        )
),

compared_minutes AS (
    SELECT
        symbol,
        minute,
        is_recorded,
        largest_order,
        close,
        last_value(close IGNORE NULLS) OVER day_before AS close_before,
        max(minute) FILTER (close IS NOT NULL) OVER day_before AS minute_before,
        max(minute) FILTER (NOT is_recorded) OVER day_before AS last_unrecorded,
        date_diff('minute', greatest(minute - INTERVAL 24 HOURS, recorded_from), minute)
        - count(*) FILTER (NOT is_recorded AND minute >= recorded_from) OVER day_before AS recorded_minutes,
        max(largest_order) FILTER (is_recorded) OVER day_before AS largest_before,
    FROM minutes
    WHERE
        minute >= $window_start::TIMESTAMP - INTERVAL 24 HOURS
        AND symbol IN (SELECT symbol FROM large_minutes)
    WINDOW
        day_before AS (
            PARTITION BY symbol
            ORDER BY minute
            RANGE BETWEEN INTERVAL 24 HOURS PRECEDING AND INTERVAL 1 MINUTE PRECEDING
        )
),

whale_minutes AS (
    SELECT
        symbol,
        minute,
        largest_before,
        close / nullif(close_before, 0) - 1 AS move,
    FROM compared_minutes
    JOIN large_minutes USING (symbol, minute)
    WHERE
        is_recorded
        AND minute_before > coalesce(last_unrecorded, TIMESTAMP '1970-01-01')
        AND recorded_minutes >= $min_minutes::BIGINT
        AND largest_order / nullif(largest_before, 0) >= $min_ratio::DOUBLE
        AND abs(move) >= $min_move::DOUBLE
),

-- The trades of the few minutes found show which order it was.
whale_orders AS (
    SELECT
        trades.symbol,
        whale_minutes.minute,
        date_trunc('millisecond', traded_at) AS ordered_at,
        is_buyer_maker,
        any_value(largest_before) AS largest_before,
        any_value(move) AS move,
        sum(price * qty) AS quote_qty,
        min(id) AS first_id,
        max(id) AS last_id,
    FROM trades
    JOIN whale_minutes
        ON
            trades.symbol = whale_minutes.symbol
            AND date_trunc('minute', traded_at) = whale_minutes.minute
    WHERE traded_at >= $window_start::TIMESTAMP
    GROUP BY
        trades.symbol,
        whale_minutes.minute,
        ordered_at,
        is_buyer_maker,
    QUALIFY row_number() OVER (PARTITION BY trades.symbol, whale_minutes.minute ORDER BY quote_qty DESC, first_id) = 1
)

SELECT
    symbol,
    minute + INTERVAL 1 MINUTE AS at,
    round(quote_qty / largest_before, 2) AS score,
    severity_of(quote_qty / largest_before, $medium_ratio::DOUBLE, $high_ratio::DOUBLE) AS severity,
    format(
        'one taker order {} for {} of quote asset, {:.1f} times the largest of the 24 hours before,'
        || ' price {:+.1f} %, minute ending {}',
        CASE WHEN is_buyer_maker THEN 'sold' ELSE 'bought' END,
        CASE WHEN quote_qty >= 1000 THEN format('{:,}', quote_qty::BIGINT) ELSE format('{:.4g}', quote_qty) END,
        quote_qty / largest_before,
        100 * move,
        strftime(minute + INTERVAL 1 MINUTE, '%H:%M')
    ) AS message,
    first_id,
    last_id,
    CASE WHEN is_buyer_maker THEN 'sell' ELSE 'buy' END AS side,
    round(quote_qty, 8) AS quote_qty,
    round(largest_before, 8) AS largest_before,
    round(move, 6) AS move,
    ordered_at,
FROM whale_orders
ORDER BY
    symbol,
    minute
