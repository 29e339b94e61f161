-- around_alerts lists alerts with what the symbol did in the minutes before and after.
--
-- After the alerts of a good detector more happens than by chance. Prices are those of the last
-- trade before an instant.
--
-- Reads trades, not summaries: an alert is not at the start of an hour.
--
-- reads:   alerts         all
-- reads:   trades         around the alerts
-- param:   around         INTERVAL   time before and after; default 10 minutes
-- column:  at             TIMESTAMP  UTC, of the alert
-- column:  symbol         VARCHAR    as the exchange spells it
-- column:  detector       VARCHAR    its name
-- column:  severity       VARCHAR    low, medium or high
-- column:  price          DOUBLE     quote asset per base asset, at the alert
-- column:  change_before  DOUBLE     percent, over the time before the alert
-- column:  change_after   DOUBLE     percent, over the time after the alert
-- column:  highest_after  DOUBLE     percent, >= 0, highest price after over the price at the alert
-- column:  trades_after   BIGINT     raw trades in the time after
-- key:     at, symbol, detector
WITH
windows AS (
    SELECT
        detector,
        symbol,
        alerts.at AS alert_at,
        severity,
        alerts.at - coalesce(getvariable('around')::INTERVAL, INTERVAL '10 minutes') AS start_at,
        alerts.at + coalesce(getvariable('around')::INTERVAL, INTERVAL '10 minutes') AS end_at,
    FROM alerts
),
instants AS (
    SELECT
        symbol,
        start_at AS instant,
    FROM windows
    UNION
    SELECT
        symbol,
        alert_at AS instant,
    FROM windows
    UNION
    SELECT
        symbol,
        end_at AS instant,
    FROM windows
),
last_trades AS (
    SELECT
        symbol,
        traded_at,
        arg_max(price, id) AS price,
    FROM trades
    WHERE symbol IN (SELECT symbol FROM windows)
    GROUP BY symbol, traded_at
),
prices AS (
    SELECT
        instants.symbol AS symbol,
        instant,
        price,
    FROM instants
    ASOF LEFT JOIN last_trades ON instants.symbol = last_trades.symbol AND instants.instant > last_trades.traded_at
),
afters AS (
    SELECT
        windows.detector AS detector,
        windows.symbol AS symbol,
        windows.alert_at AS alert_at,
        max(trades.price) AS highest,
        sum(trades.last_trade_id - trades.first_trade_id + 1)::BIGINT AS trades_after,
    FROM windows
    JOIN trades ON trades.symbol = windows.symbol AND trades.traded_at >= alert_at AND trades.traded_at < end_at
    GROUP BY windows.detector, windows.symbol, alert_at
)
SELECT
    windows.alert_at AS "at",
    windows.symbol AS symbol,
    windows.detector AS detector,
    windows.severity AS severity,
    at_alert.price AS price,
    (at_alert.price / nullif(at_start.price, 0) - 1) * 100 AS change_before,
    (at_end.price / nullif(at_alert.price, 0) - 1) * 100 AS change_after,
    (greatest(afters.highest, at_alert.price) / nullif(at_alert.price, 0) - 1) * 100 AS highest_after,
    coalesce(trades_after, 0) AS trades_after,
FROM windows
JOIN prices AS at_start ON at_start.symbol = windows.symbol AND at_start.instant = windows.start_at
JOIN prices AS at_alert ON at_alert.symbol = windows.symbol AND at_alert.instant = windows.alert_at
JOIN prices AS at_end ON at_end.symbol = windows.symbol AND at_end.instant = windows.end_at
LEFT JOIN afters ON afters.detector = windows.detector AND afters.symbol = windows.symbol AND afters.alert_at = windows.alert_at
ORDER BY windows.alert_at, windows.symbol, windows.detector
