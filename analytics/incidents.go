package analytics

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"

	"tapedeck/internal/tape"
)

// Incident groups the alerts of one event. sql/derived/incidents.sql defines it.
type Incident struct {
	// Symbol is AllSymbols for a market-wide incident.
	Symbol string `json:"symbol"`
	// StartedAt and LastAt are the times of the first and the last alert, UTC.
	StartedAt time.Time `json:"started_at"`
	LastAt    time.Time `json:"last_at"`
	// Severity is low, medium or high.
	Severity string `json:"severity"`
	// Detectors raised the alerts and Symbols are affected, both in alphabetical order.
	Detectors []string `json:"detectors"`
	Symbols   []string `json:"symbols"`
	Alerts    int64    `json:"alerts"`
	Message   string   `json:"message"` // plain text
}

// AllSymbols is the symbol of a market-wide incident.
const AllSymbols = "*"

// alertsArgument is the temporary table that holds the argument of Incidents.
const alertsArgument = "alerts_argument"

// Incidents groups alerts into incidents, ordered by the time of their last alert and by symbol. The
// alerts need not be on the tape. symbols is how many symbols are recorded, of which a market-wide
// incident must affect a tenth.
func (s *Session) Incidents(ctx context.Context, alerts []tape.Alert, symbols int) ([]Incident, error) {
	if len(alerts) == 0 {
		return nil, nil
	}
	result, err := s.groupAlerts(ctx, alerts, symbols)
	if err != nil {
		return nil, fmt.Errorf("group %d alerts into incidents: %w", len(alerts), err)
	}
	out := make([]Incident, len(result.Rows))
	for i, row := range result.Rows {
		in := &out[i]
		in.Symbol, _ = row[0].(string)
		in.StartedAt, _ = row[1].(time.Time)
		in.LastAt, _ = row[2].(time.Time)
		in.Severity, _ = row[3].(string)
		in.Detectors, in.Symbols = stringList(row[4]), stringList(row[5])
		in.Alerts, _ = row[6].(int64)
		in.Message, _ = row[7].(string)
	}
	return out, nil
}

func (s *Session) groupAlerts(ctx context.Context, alerts []tape.Alert, symbols int) (Result, error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return Result{}, err
	}
	defer conn.Close()
	if err := exec(ctx, conn, "CREATE OR REPLACE TEMPORARY TABLE "+alertsArgument+" AS FROM canonical.alerts LIMIT 0"); err != nil {
		return Result{}, err
	}
	defer exec(context.WithoutCancel(ctx), conn, "DROP TABLE "+alertsArgument)
	rows := make([][]driver.Value, len(alerts))
	for i, a := range alerts {
		at := time.UnixMicro(a.At).UTC()
		rows[i] = []driver.Value{a.Detector, a.Symbol, at, a.Score, a.Severity, a.Message, a.FirstID, a.LastID, "{}", a.RunID,
			time.UnixMicro(a.FoundAt).UTC(), at.Truncate(24 * time.Hour)}
	}
	if err := appendRows(conn, "temp", "main", alertsArgument, rows); err != nil {
		return Result{}, err
	}
	// The common table expressions hide the relations of the same names.
	return fetch(ctx, conn, fmt.Sprintf(`
WITH alerts AS (FROM %s),
bounds AS (SELECT symbol FROM range(%d) AS symbols(symbol))
SELECT symbol, started_at, last_at, severity, detectors, symbols, alerts, message
FROM (
%s
) AS incidents
ORDER BY last_at, symbol, started_at`, alertsArgument, symbols, derivedSelect("incidents")))
}
