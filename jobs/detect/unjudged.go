package detect

import (
	"slices"
	"strings"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// Unjudged is how many minutes of a symbol no detector with a baseline could judge.
type Unjudged struct {
	Symbol string
	// History is the minutes whose baseline, the 24 hours before the full hour, has too few recorded
	// minutes: fewer than min_minutes of the detector that needs most, 720 by default.
	History int64
	// Gap is the minutes in which ids are missing that the exchange itself does not have.
	Gap int64
}

// baseline is the time with which detectors compare.
const baseline = 24 * time.Hour

// countUnjudged counts what was not judged. It repeats in Go what the detectors do in SQL.
func (r *run) countUnjudged() {
	required := int64(0)
	windows := map[string]window.Window{}
	for _, query := range r.queries {
		param, ok := query.Param("min_minutes")
		if !ok || r.failed[query.Name] {
			continue
		}
		minutes := toFloat(param.Default, 0)
		if set, ok := r.opt.Thresholds[query.Name]["min_minutes"]; ok {
			minutes = toFloat(set, minutes)
		}
		required = max(required, int64(minutes))
		for symbol, w := range r.windows[query.Name] {
			windows[symbol] = windows[symbol].Hull(w)
		}
	}
	for symbol, w := range windows {
		bounds, ok := r.index.Bounds(symbol)
		if !ok {
			continue
		}
		gaps := gapMinutes(r.index.Gaps(symbol))
		recordedFrom := bounds.FirstAt.UTC().Truncate(time.Minute).Add(time.Minute)
		u := Unjudged{Symbol: symbol, Gap: minutesIn(gaps, w)}
		for hour := w.Start.Truncate(time.Hour); hour.Before(w.End); hour = hour.Add(time.Hour) {
			before := window.Window{Start: hour.Add(-baseline), End: hour}.Intersect(window.Window{Start: recordedFrom, End: hour})
			if recordedMinutes(gaps, before) < required {
				u.History += recordedMinutes(gaps, w.Intersect(window.Window{Start: hour, End: hour.Add(time.Hour)}))
			}
		}
		if u.History+u.Gap > 0 {
			r.summary.Unjudged = append(r.summary.Unjudged, u)
		}
	}
	slices.SortFunc(r.summary.Unjudged, func(a, b Unjudged) int { return strings.Compare(a.Symbol, b.Symbol) })
}

// gapMinutes returns the minutes with gaps, as from window.Merge.
func gapMinutes(gaps []tape.Gap) []window.Window {
	windows := make([]window.Window, len(gaps))
	for i, gap := range gaps {
		windows[i] = window.Minutes(gap.After, gap.Before)
	}
	return window.Merge(windows)
}

// minutesIn counts the minutes of windows that are in w.
func minutesIn(windows []window.Window, w window.Window) (minutes int64) {
	for _, part := range windows {
		minutes += int64(part.Intersect(w).Duration() / time.Minute)
	}
	return minutes
}

// recordedMinutes counts the minutes of w without a gap.
func recordedMinutes(gaps []window.Window, w window.Window) int64 {
	return int64(w.Duration()/time.Minute) - minutesIn(gaps, w)
}

// toFloat returns a threshold as a number, or otherwise if it is none.
func toFloat(value any, otherwise float64) float64 {
	switch v := value.(type) {
	case float64:
		return v
	case int:
		return float64(v)
	case int64:
		return float64(v)
	}
	return otherwise
}
