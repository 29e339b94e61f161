package analytics

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/tape"
)

// Incident is what some alerts are about together; see sql/derived/incidents.sql.
type Incident struct {
	// Symbol is AllSymbols where many symbols make one incident of the whole market.
	Symbol string `json:"symbol"`
	// StartedAt and LastAt are the at of the first and the last alert.
	StartedAt time.Time `json:"started_at"`
	LastAt    time.Time `json:"last_at"`
	// Severity is low, medium or high.
	Severity string `json:"severity"`
	// Detectors that agree and Symbols concerned, by name.
	Detectors []string `json:"detectors"`
	Symbols   []string `json:"symbols"`
	Alerts    int64    `json:"alerts"`
	Message   string   `json:"message"`
}

// AllSymbols is the symbol of an incident of the whole market.
const AllSymbols = "*"

// Incidents makes incidents of alerts, by the time of their last alert and symbol. Symbols is of how many symbols the alerts could be.
func Incidents(ctx context.Context, alerts []tape.Alert, symbols int) ([]Incident, error) {
	if len(alerts) == 0 {
		return nil, nil
	}
	s, err := OpenEmpty(ctx, Options{Threads: 1})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.fillAlerts(ctx, alerts, symbols); err != nil {
		return nil, fmt.Errorf("make incidents of %d alerts: %w", len(alerts), err)
	}
	result, err := s.SQL(ctx, `SELECT symbol, started_at, last_at, severity, detectors, symbols, alerts, message FROM incidents ORDER BY last_at, symbol, started_at`)
	if err != nil {
		return nil, fmt.Errorf("make incidents of %d alerts: %w", len(alerts), err)
	}
	out := make([]Incident, len(result.Rows))
	for i, row := range result.Rows {
		in := &out[i]
		in.Symbol, _ = row[0].(string)
		in.StartedAt, _ = row[1].(time.Time)
		in.LastAt, _ = row[2].(time.Time)
		in.Severity, _ = row[3].(string)
		in.Detectors, in.Symbols = texts(row[4]), texts(row[5])
		in.Alerts, _ = row[6].(int64)
		in.Message, _ = row[7].(string)
	}
	return out, nil
}

func texts(value any) (out []string) {
	list, _ := value.([]any)
	for _, item := range list {
		text, _ := item.(string)
		out = append(out, text)
	}
	return out
}

func (s *Session) fillAlerts(ctx context.Context, alerts []tape.Alert, symbols int) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "INSERT INTO canonical.bounds SELECT i::VARCHAR, 0, 0, TIMESTAMP '1970-01-01', TIMESTAMP '1970-01-01' FROM range(?) AS symbols(i)", symbols); err != nil {
		return err
	}
	return conn.Raw(func(raw any) error {
		appender, err := duckdb.NewAppender(raw.(driver.Conn), "memory", "canonical", "alerts")
		if err != nil {
			return err
		}
		for _, a := range alerts {
			if err == nil {
				at := time.UnixMicro(a.At).UTC()
				err = appender.AppendRow(a.Detector, a.Symbol, at, a.Score, a.Severity, a.Message, a.FirstID, a.LastID, "{}", a.RunID, time.UnixMicro(a.FoundAt).UTC(), at.Truncate(24*time.Hour))
			}
		}
		return errors.Join(err, appender.Close())
	})
}
