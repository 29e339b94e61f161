package detect

import (
	"slices"
	"strings"
	"time"

	"tapedeck/internal/tape"
)

// Unjudged is how much of a symbol's time nothing could be said about.
type Unjudged struct {
	Symbol string
	// Minutes of the judged time for which the 24 hours before the full hour were not recorded long enough: fewer minutes than the
	// detectors' min_minutes (the most that one of them asks for, 720 by default).
	History int64
	// Minutes in which ids are missing that the exchange itself does not have.
	Gap int64
}

// dayBefore is the time that detectors compare with.
const dayBefore = 24 * time.Hour

// unjudged counts what was not evaluated. It is arithmetic on what is recorded, the same that the detectors do in SQL.
func (r *run) unjudged() {
	least := int64(0)
	windows := map[string]window{}
	for _, query := range r.queries {
		param, ok := query.Param("min_minutes")
		if !ok || r.failed[query.Name] {
			continue
		}
		asked, _ := param.Default.(int64)
		if set, ok := r.opt.Thresholds[query.Name]["min_minutes"]; ok {
			asked = wholeNumber(set, asked)
		}
		least = max(least, asked)
		for symbol, w := range r.windows[query.Name] {
			windows[symbol] = windows[symbol].hull(w)
		}
	}
	for symbol, w := range windows {
		bounds, ok := r.index.Bounds(symbol)
		if !ok {
			continue
		}
		holes := holesOf(r.index.Gaps(symbol))
		recordedFrom := bounds.FirstAt.UTC().Truncate(time.Minute).Add(time.Minute)
		u := Unjudged{Symbol: symbol, Gap: minutesIn(holes, w)}
		for hour := w.start.Truncate(time.Hour); hour.Before(w.end); hour = hour.Add(time.Hour) {
			before := window{hour.Add(-dayBefore), hour}
			if recordedFrom.After(before.start) {
				before.start = recordedFrom
			}
			recorded := int64(0)
			if !before.empty() {
				recorded = int64(before.end.Sub(before.start)/time.Minute) - minutesIn(holes, before)
			}
			if recorded < least {
				part := w.cut(window{hour, hour.Add(time.Hour)})
				u.History += int64(part.end.Sub(part.start)/time.Minute) - minutesIn(holes, part)
			}
		}
		if u.History+u.Gap > 0 {
			r.summary.Unjudged = append(r.summary.Unjudged, u)
		}
	}
	slices.SortFunc(r.summary.Unjudged, func(a, b Unjudged) int { return strings.Compare(a.Symbol, b.Symbol) })
}

// holesOf gives the minutes around holes in the ids, disjoint and in order.
func holesOf(gaps []tape.Gap) (out []window) {
	for _, gap := range gaps {
		hole := window{gap.After.UTC().Truncate(time.Minute), gap.Before.UTC().Truncate(time.Minute).Add(time.Minute)}
		if n := len(out); n > 0 && !hole.start.After(out[n-1].end) {
			out[n-1] = out[n-1].hull(hole)
			continue
		}
		out = append(out, hole)
	}
	return out
}

func minutesIn(holes []window, w window) (minutes int64) {
	for _, hole := range holes {
		if part := hole.cut(w); !part.empty() {
			minutes += int64(part.end.Sub(part.start) / time.Minute)
		}
	}
	return minutes
}

// wholeNumber reads a threshold as it may stand in a configuration.
func wholeNumber(value any, otherwise int64) int64 {
	switch v := value.(type) {
	case int:
		return int64(v)
	case int64:
		return v
	case float64:
		return int64(v)
	}
	return otherwise
}
