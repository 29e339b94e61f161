package detect

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// toAlerts converts the rows of a detector to alerts, ordered by symbol and time. A row that is not an alert
// in w is an error.
func toAlerts(query analytics.Query, result analytics.Result, w window.Window, opt Options) ([]tape.Alert, error) {
	out := make([]tape.Alert, 0, len(result.Rows))
	for _, row := range result.Rows {
		extra := make(map[string]any, len(row))
		for i, column := range result.Columns {
			extra[column.Name] = row[i]
		}
		at, hasTime := take[time.Time](extra, "at")
		score := extra["score"]
		alert := tape.Alert{Detector: query.Name, At: at.UnixMicro(), RunID: opt.RunID, FoundAt: opt.Now.UnixMicro()}
		alert.Symbol, _ = take[string](extra, "symbol")
		alert.Score, _ = take[float64](extra, "score")
		alert.Severity, _ = take[string](extra, "severity")
		alert.Message, _ = take[string](extra, "message")
		alert.FirstID, _ = take[int64](extra, "first_id")
		alert.LastID, _ = take[int64](extra, "last_id")
		for name, value := range extra {
			extra[name] = jsonValue(value)
		}
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%s returned a row for %q %s", query.Path, alert.Symbol, fmt.Sprintf(format, args...))
		}
		switch {
		case !hasTime:
			return nil, bad("without at")
		case jsonValue(score) != alert.Score:
			return nil, bad("whose score is %v", score)
		case alert.Symbol == "":
			return nil, bad("without a symbol")
		case !slices.Contains([]string{"low", "medium", "high"}, alert.Severity):
			return nil, bad("whose severity is %q instead of low, medium or high", alert.Severity)
		case !raisedIn(w, alert.At):
			return nil, bad("at %s, outside its window, which is after %s and up to %s",
				rfc3339(time.UnixMicro(alert.At)), rfc3339(w.Start), rfc3339(w.End))
		}
		text, err := json.Marshal(extra)
		if err != nil {
			return nil, bad("that cannot be written as JSON: %v", err)
		}
		alert.Extra = string(text)
		out = append(out, alert)
	}
	slices.SortStableFunc(out, func(a, b tape.Alert) int {
		return cmp.Or(strings.Compare(a.Symbol, b.Symbol), cmp.Compare(a.At, b.At))
	})
	return out, nil
}

// take removes a value and returns it if it has the type.
func take[T any](values map[string]any, name string) (T, bool) {
	value, ok := values[name].(T)
	delete(values, name)
	return value, ok
}

// alertKey identifies an alert.
type alertKey struct {
	detector, symbol string
	at               int64
}

func keyOf(a tape.Alert) alertKey { return alertKey{a.Detector, a.Symbol, a.At} }

// jsonValue returns a value as JSON can hold it.
func jsonValue(value any) any {
	switch v := value.(type) {
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil
		}
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return value
}

// dropRepeats keeps the rows that begin or end an event. A row begins an event if no other row of the
// symbol is less than cooldown before it, whether that one was kept or not. A row that is recovered ends
// an event; it is dropped if the row less than cooldown before it is recovered too. The result depends on
// the rows of that short time only, and not on where a run began.
func dropRepeats(rows []tape.Alert, cooldown time.Duration) []tape.Alert {
	var out []tape.Alert
	var last, lastActive *tape.Alert // of the symbol; lastActive is not recovered
	for i := range rows {
		row := &rows[i]
		if last != nil && last.Symbol != row.Symbol {
			last, lastActive = nil, nil
		}
		repeats := func(earlier *tape.Alert) bool {
			return earlier != nil && row.At-earlier.At < cooldown.Microseconds()
		}
		isEnd := isRecovered(*row)
		if isEnd && !(repeats(last) && isRecovered(*last)) || !isEnd && !repeats(lastActive) {
			out = append(out, *row)
		}
		last = row
		if !isEnd {
			lastActive = row
		}
	}
	return out
}

// isRecovered reports whether a row ends an event: its column recovered is true.
func isRecovered(row tape.Alert) bool {
	var extra struct {
		Recovered bool `json:"recovered"`
	}
	return json.Unmarshal([]byte(row.Extra), &extra) == nil && extra.Recovered
}
