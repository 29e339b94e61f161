package detect

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// alertsOf makes alerts of a detector's rows, in the order of symbol and time. A row that no alert can be made of is an error of the query.
func alertsOf(query analytics.Query, result analytics.Result, over window, opt Options) ([]tape.Alert, error) {
	out := make([]tape.Alert, 0, len(result.Rows))
	for _, row := range result.Rows {
		alert := tape.Alert{Detector: query.Name, RunID: opt.RunID, FoundAt: opt.Now.UnixMicro()}
		extra := map[string]any{}
		bad := func(format string, args ...any) error {
			return fmt.Errorf("%s returned a row for %q %s", query.Path, alert.Symbol, fmt.Sprintf(format, args...))
		}
		for i, column := range result.Columns {
			value := row[i]
			switch column.Name {
			case "symbol":
				alert.Symbol, _ = value.(string)
			case "at":
				at, ok := value.(time.Time)
				if !ok {
					return nil, bad("without at")
				}
				alert.At = at.UnixMicro()
			case "score":
				score, ok := value.(float64)
				if !ok || math.IsNaN(score) || math.IsInf(score, 0) {
					return nil, bad("whose score is %v", value)
				}
				alert.Score = score
			case "severity":
				alert.Severity, _ = value.(string)
			case "message":
				alert.Message, _ = value.(string)
			case "first_id":
				alert.FirstID, _ = value.(int64)
			case "last_id":
				alert.LastID, _ = value.(int64)
			default:
				extra[column.Name] = jsonable(value)
			}
		}
		switch {
		case alert.Symbol == "":
			return nil, bad("without a symbol")
		case !slices.Contains([]string{"low", "medium", "high"}, alert.Severity):
			return nil, bad("whose severity is %q: it is low, medium or high", alert.Severity)
		case !over.covers(alert.At):
			return nil, bad("at %s, which is outside of its window, after %s and up to %s", clock(time.UnixMicro(alert.At)), clock(over.start), clock(over.end))
		}
		text, err := json.Marshal(extra)
		if err != nil {
			return nil, bad("that is no JSON: %v", err)
		}
		alert.Extra = string(text)
		out = append(out, alert)
	}
	slices.SortStableFunc(out, func(a, b tape.Alert) int {
		if order := strings.Compare(a.Symbol, b.Symbol); order != 0 {
			return order
		}
		return int(max(min(a.At-b.At, 1), -1))
	})
	return out, nil
}

func jsonable(value any) any {
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

// firstOfEach keeps the rows that begin an event: those with no other row of the symbol less than cooldown before them, whether that
// one was kept or not. A row that says that an event is over is no part of one; it is kept where no such row comes right before it. So all depends on
// the rows of that short time only, and not on where a run began.
func firstOfEach(rows []tape.Alert, cooldown time.Duration) []tape.Alert {
	var out []tape.Alert
	var lastOn, last *tape.Alert // the last row that is not over, and the last one, of the symbol
	for i := range rows {
		row := &rows[i]
		if last != nil && last.Symbol != row.Symbol {
			lastOn, last = nil, nil
		}
		near := func(before *tape.Alert) bool { return before != nil && row.At-before.At < cooldown.Microseconds() }
		over := recovered(*row)
		if over && !(near(last) && recovered(*last)) || !over && !near(lastOn) {
			out = append(out, *row)
		}
		last = row
		if !over {
			lastOn = row
		}
	}
	return out
}

// recovered reports whether a row has a true column of that name: what it tells of is over.
func recovered(row tape.Alert) bool {
	var extra struct {
		Recovered bool `json:"recovered"`
	}
	return json.Unmarshal([]byte(row.Extra), &extra) == nil && extra.Recovered
}
