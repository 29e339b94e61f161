package detect

import (
	"time"

	"tapedeck/analytics"
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
		required = max(required, int64(r.threshold(query, param)))
		for symbol, w := range r.windows[query.Name] {
			windows[symbol] = windows[symbol].Hull(w)
		}
	}
	for symbol, bounds := range r.index.AllBounds() {
		w := windows[symbol]
		var gaps []window.Window
		for _, gap := range r.index.Gaps(symbol) {
			gaps = append(gaps, window.Minutes(gap.After, gap.Before))
		}
		gaps = window.Merge(gaps)
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

// threshold returns the value of a numeric parameter.
func (r *run) threshold(query analytics.Query, param analytics.Param) float64 {
	return toFloat(r.opt.Thresholds[query.Name][param.Name], toFloat(param.Default, 0))
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
