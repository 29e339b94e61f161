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
)

// Calibration is what an alarm budget makes of one detector's threshold.
type Calibration struct {
	Detector string
	// Param is the parameter that the score must reach, Current its value until now.
	Param   string
	Current float64
	// Threshold keeps the budget: the quantile of the highest score of each symbol and day, rounded up to two places. Medium and High are
	// the scores that two fifths and a fifth of the symbol-days that alarm at it reach; where those are few, as far above it as by default.
	Threshold, Medium, High float64
	// MediumParam and HighParam are the parameters of those, empty where the detector has none.
	MediumParam, HighParam string
	// SymbolDays that were evaluated, and how many of them have an alarm at Current and at Threshold.
	SymbolDays, AlarmsCurrent, AlarmsThreshold int64
	// Floor says that the budget would allow a lower threshold than a quarter of the current one, below which no rows were asked for.
	Floor bool
}

// fewAlarms are too few for quantiles.
const fewAlarms = 10

// calibrateFrom is the share of the current threshold from which scores are asked for.
const calibrateFrom = 0.25

// Calibrated is what Calibrate found.
type Calibrated struct {
	// From and To are the window that was looked at: what of the one asked for has been recorded, after the first half day.
	From, To time.Time
	// Detectors by name. Skipped are those whose header has no threshold: line.
	Detectors []Calibration
	Skipped   []string
	// Problems are what is wrong with single detectors; the others were calibrated.
	Problems []error
}

// calibrateDefault is how much of the tape's end is looked at where no window is given.
const calibrateDefault = 28 * 24 * time.Hour

// Calibrate sets thresholds for the tape at hand: such that each detector raises at most its equal share of budget alarms a day, over all
// symbols together. It takes the highest score of each symbol on each UTC day of Options.From to To (the last four weeks of the tape where
// they are zero), and of these the quantile that leaves as many symbol-days above it as the budget allows. It writes nothing.
func Calibrate(ctx context.Context, dir *tape.Dir, opt Options, budget float64) (Calibrated, error) {
	var out Calibrated
	if !(budget > 0) {
		return out, usage("a budget of %g alarms a day: it is more than 0", budget)
	}
	opt.DryRun, opt.SymbolThresholds = true, nil
	r, all, err := prepare(ctx, dir, opt, calibrateDefault)
	if err != nil {
		return out, err
	}
	out.Problems = r.summary.Problems
	all, symbolDays := r.symbolDays(all)
	if symbolDays < 1 {
		return out, usage("no symbol was recorded for longer than half a day before %s, which is what it is compared with", clock(all.end))
	}
	out.From, out.To = all.start, all.end
	queries, current := []analytics.Query{}, map[string]float64{}
	lowered := map[string]map[string]any{}
	for _, query := range r.queries {
		param, ok := query.Param(query.Threshold)
		if !ok {
			out.Skipped = append(out.Skipped, query.Name)
			continue
		}
		current[query.Name] = number(param.Default, 0)
		if set, ok := r.opt.Thresholds[query.Name][query.Threshold]; ok {
			current[query.Name] = number(set, current[query.Name])
		}
		values := maps.Clone(r.opt.Thresholds[query.Name])
		if values == nil {
			values = map[string]any{}
		}
		values[query.Threshold] = calibrateFrom * current[query.Name]
		if _, ok := query.Param("thin_z"); ok {
			values["thin_z"] = 1e9 // a second rule has no part in the budget of the first
		}
		lowered[query.Name] = values
		query.Cooldown = time.Nanosecond // every row counts, and not only those that begin an event
		queries = append(queries, query)
	}
	r.queries, r.opt.Thresholds = queries, lowered
	highest := map[string][]float64{}
	for _, day := range daysOf(all) {
		rows, problems, err := r.rowsOver(ctx, day, time.Time{})
		if err != nil {
			return out, err
		}
		out.Problems = append(out.Problems, problems...)
		for name, alerts := range rows {
			highest[name] = append(highest[name], highestOf(alerts)...)
		}
	}
	share := budget * all.end.Sub(all.start).Hours() / 24 / float64(len(queries))
	for _, query := range queries {
		if !r.failed[query.Name] {
			out.Detectors = append(out.Detectors, calibration(query, current[query.Name], highest[query.Name], int(share), symbolDays))
		}
	}
	slices.SortFunc(out.Detectors, func(a, b Calibration) int { return strings.Compare(a.Detector, b.Detector) })
	return out, nil
}

// calibration finds the threshold that leaves so many symbol-days above it, of those with the highest scores given.
func calibration(query analytics.Query, current float64, highest []float64, allowed int, symbolDays int64) Calibration {
	slices.SortFunc(highest, func(a, b float64) int { return cmp.Compare(b, a) })
	c := Calibration{Detector: query.Name, Param: query.Threshold, Current: current, SymbolDays: symbolDays}
	if allowed >= len(highest) {
		c.Threshold, c.Floor = calibrateFrom*current, true
	} else {
		// The first score that is one too many must not reach it.
		c.Threshold = math.Round(100*(math.Floor(100*highest[allowed])/100+0.01)) / 100
	}
	if param, ok := query.Param(query.Threshold); ok {
		c.Threshold = param.Nearest(c.Threshold)
	}
	above := func(limit float64) (n int64) {
		for _, score := range highest {
			if score >= limit {
				n++
			}
		}
		return n
	}
	c.AlarmsCurrent, c.AlarmsThreshold = above(current), above(c.Threshold)
	kind := strings.TrimPrefix(query.Threshold, "min_")
	severity := func(name string, share float64) (string, float64) {
		param, ok := query.Param(name)
		if !ok {
			name = ""
		}
		if c.AlarmsThreshold >= fewAlarms || !ok || current <= 0 {
			i := min(int(share*float64(c.AlarmsThreshold)), len(highest)-1)
			if i < 0 || c.AlarmsThreshold == 0 {
				return name, c.Threshold
			}
			return name, math.Round(100*highest[i]) / 100
		}
		was := number(param.Default, current)
		if own, ok := query.Param(query.Threshold); ok {
			was /= number(own.Default, current)
		}
		return name, math.Round(100*c.Threshold*was) / 100
	}
	c.MediumParam, c.Medium = severity("medium_"+kind, 0.4)
	c.HighParam, c.High = severity("high_"+kind, 0.2)
	return c
}

// highestOf gives the highest score of each symbol.
func highestOf(alerts []tape.Alert) []float64 {
	most := map[string]float64{}
	for _, alert := range alerts {
		if old, ok := most[alert.Symbol]; !ok || alert.Score > old {
			most[alert.Symbol] = alert.Score
		}
	}
	return slices.Collect(maps.Values(most))
}

// symbolDays counts the symbols and UTC days with half a day's record before some of the window's part of them, and gives the part of the
// window in which there are any.
func (r *run) symbolDays(all window) (part window, n int64) {
	for _, symbol := range r.index.Symbols() {
		bounds, ok := r.index.Bounds(symbol)
		if !ok {
			continue
		}
		judged := window{bounds.FirstAt.UTC().Add(dayBefore / 2).Truncate(time.Minute), bounds.LastAt.UTC()}.cut(all)
		if !judged.empty() {
			n += int64(len(daysOf(judged)))
			part = part.hull(judged)
		}
	}
	if n == 0 {
		return all, 0
	}
	return window{part.start, all.end}, n
}

func number(value any, otherwise float64) float64 {
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
