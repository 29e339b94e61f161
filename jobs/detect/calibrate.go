package detect

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// Calibration is the result of Calibrate.
type Calibration struct {
	// Window is the part of the requested window that could be used: what is recorded, after the first
	// half day.
	Window window.Window
	// Detectors are the proposals, by name. Skipped are the detectors whose header has no threshold: line.
	Detectors []Proposal
	Skipped   []string
	// Problems are errors of single detectors; the others were calibrated.
	Problems []error
}

// Proposal is the threshold of one detector that keeps an alert budget.
type Proposal struct {
	Detector string `json:"detector"`
	// Param is the parameter that the score must reach, and Current its value now.
	Param   string  `json:"param"`
	Current float64 `json:"current"`
	// Threshold is the proposed value, rounded up to two decimals.
	Threshold float64 `json:"proposed"`
	// Medium and High are proposals for MediumParam and HighParam: the scores that two fifths and one fifth
	// of the alerts reach or, if those are few, as far above Threshold as by default. A name is empty if
	// the detector has no such parameter.
	Medium      float64 `json:"medium"`
	High        float64 `json:"high"`
	MediumParam string  `json:"-"`
	HighParam   string  `json:"-"`
	// SymbolDays is how many pairs of symbol and UTC day were judged. AlertsCurrent and AlertsThreshold are
	// how many of them have an alert at Current and at Threshold.
	SymbolDays      int64 `json:"symbol_days"`
	AlertsCurrent   int64 `json:"alarms_current"`
	AlertsThreshold int64 `json:"alarms_proposed"`
	// Floor is set if the budget allows a threshold below minCalibrated of Current. Such scores were not
	// requested.
	Floor bool `json:"-"`
}

const (
	// calibrateDefault is how much of the end of the tape is used if no window is given.
	calibrateDefault = 28 * 24 * time.Hour
	// minCalibrated is the share of the current threshold from which scores are requested.
	minCalibrated = 0.25
	// fewAlerts is too few for a quantile.
	fewAlerts = 10
)

// Calibrate proposes thresholds for this tape, with which each detector raises its equal share of budget
// alerts per day or fewer, over all symbols together. It takes the highest score of each symbol on each UTC day
// of the window, which is the last four weeks of the tape by default, and from those the quantile that
// leaves as many above it as the budget allows. It writes nothing.
func Calibrate(ctx context.Context, dir *tape.Dir, opt Options, budget float64) (Calibration, error) {
	var out Calibration
	if !(budget > 0) {
		return out, usageError("a budget of %g alerts per day is not more than 0", budget)
	}
	opt.DryRun, opt.SymbolThresholds = true, nil
	r, requested, err := newCheck(ctx, dir, opt, calibrateDefault)
	if err != nil {
		return out, err
	}
	var symbolDays int64
	if out.Window, symbolDays = r.symbolDays(requested); symbolDays < 1 {
		return out, usageError("no symbol was recorded for half a day, the minimum for a comparison, before %s", rfc3339(requested.End))
	}
	var current map[string]float64
	current, out.Skipped = r.lowerThresholds()
	highest := map[string][]float64{}
	for _, day := range out.Window.Days() {
		rows, err := r.alertsIn(ctx, day, time.Time{})
		if err != nil {
			return out, err
		}
		for name, alerts := range rows {
			highest[name] = append(highest[name], highestScores(alerts)...)
		}
	}
	out.Problems = r.summary.Problems
	share := budget * out.Window.Duration().Hours() / 24 / float64(len(r.queries))
	for _, query := range r.queries {
		if !r.failed[query.Name] {
			out.Detectors = append(out.Detectors, propose(query, current[query.Name], highest[query.Name], int(share), symbolDays))
		}
	}
	slices.SortFunc(out.Detectors, func(a, b Proposal) int { return strings.Compare(a.Detector, b.Detector) })
	return out, nil
}

// lowerThresholds prepares the detectors of the run to return all scores from minCalibrated of their
// threshold on. It returns the current thresholds, and the detectors without one, which it removes.
func (r *run) lowerThresholds() (current map[string]float64, skipped []string) {
	current = map[string]float64{}
	lowered := map[string]map[string]any{}
	var queries []analytics.Query
	for _, query := range r.queries {
		param, ok := query.Param(query.Threshold)
		if !ok {
			skipped = append(skipped, query.Name)
			continue
		}
		current[query.Name] = r.threshold(query, param)
		values := map[string]any{}
		maps.Copy(values, r.opt.Thresholds[query.Name])
		values[query.Threshold] = minCalibrated * current[query.Name]
		if _, ok := query.Param("thin_z"); ok {
			values["thin_z"] = 1e9 // alerts of the second rule do not count
		}
		lowered[query.Name] = values
		query.Cooldown = time.Nanosecond // every row counts, not only those that begin an event
		queries = append(queries, query)
	}
	r.queries, r.opt.Thresholds = queries, lowered
	return current, skipped
}

// propose returns the threshold that leaves at most the allowed number of symbol-days above it. highest
// has the highest score of each symbol-day.
func propose(query analytics.Query, current float64, highest []float64, allowed int, symbolDays int64) Proposal {
	slices.SortFunc(highest, func(a, b float64) int { return cmp.Compare(b, a) })
	p := Proposal{Detector: query.Name, Param: query.Threshold, Current: current, SymbolDays: symbolDays}
	if allowed >= len(highest) {
		p.Threshold, p.Floor = minCalibrated*current, true
	} else {
		// The highest score that exceeds the budget must not reach it.
		p.Threshold = math.Round(100*(math.Floor(100*highest[allowed])/100+0.01)) / 100
	}
	param, _ := query.Param(query.Threshold)
	p.Threshold = param.Clamp(p.Threshold)
	reaching := func(threshold float64) (n int64) {
		for _, score := range highest {
			if score >= threshold {
				n++
			}
		}
		return n
	}
	p.AlertsCurrent, p.AlertsThreshold = reaching(current), reaching(p.Threshold)
	severity := func(name string, share float64) (string, float64) {
		severityParam, exists := query.Param(name)
		if !exists {
			name = ""
		}
		if p.AlertsThreshold >= fewAlerts || !exists || current <= 0 {
			if p.AlertsThreshold == 0 {
				return name, p.Threshold
			}
			return name, math.Round(100*highest[int(share*float64(p.AlertsThreshold))]) / 100
		}
		ratio := toFloat(severityParam.Default, current) / toFloat(param.Default, current)
		return name, math.Round(100*p.Threshold*ratio) / 100
	}
	suffix := strings.TrimPrefix(query.Threshold, "min_")
	p.MediumParam, p.Medium = severity("medium_"+suffix, 0.4)
	p.HighParam, p.High = severity("high_"+suffix, 0.2)
	return p
}

// highestScores returns the highest score of each symbol.
func highestScores(alerts []tape.Alert) []float64 {
	highest := map[string]float64{}
	for _, alert := range alerts {
		if old, ok := highest[alert.Symbol]; !ok || alert.Score > old {
			highest[alert.Symbol] = alert.Score
		}
	}
	return slices.Collect(maps.Values(highest))
}

// symbolDays counts the pairs of symbol and UTC day that can be judged in w, because half a day before
// them is recorded. It also returns the part of w that begins with the first of them.
func (r *run) symbolDays(w window.Window) (part window.Window, n int64) {
	for _, bounds := range r.index.AllBounds() {
		judgedFrom := bounds.FirstAt.UTC().Add(12 * time.Hour).Truncate(time.Minute)
		judged := w.Intersect(window.Window{Start: judgedFrom, End: bounds.LastAt.UTC()})
		n += int64(len(judged.Days()))
		part = part.Hull(judged)
	}
	if n == 0 {
		return w, 0
	}
	return window.Window{Start: part.Start, End: w.End}, n
}
