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
	"tapedeck/analytics/tape"
)

// Calibration is what an alarm budget makes of one detector's threshold.
type Calibration struct {
	Detector string
	// Param is the parameter that the score must reach, Current its value until now.
	Param   string
	Current float64
	// Threshold keeps the budget: the quantile of the highest score of each symbol and day, rounded up to two places. Medium and High are
	// the scores of one symbol-day in two fifths and in a fifth of those that alarm at it.
	Threshold, Medium, High float64
	// SymbolDays that were evaluated, and how many of them have an alarm at Current and at Threshold.
	SymbolDays, AlarmsCurrent, AlarmsThreshold int64
	// Floor says that the budget would allow a lower threshold than a quarter of the current one, below which no rows were asked for.
	Floor bool
}

// calibrateFrom is the share of the current threshold from which scores are asked for.
const calibrateFrom = 0.25

// Calibrate sets thresholds for the tape at hand: such that each detector raises at most its equal share of budget alarms a day, over all
// symbols together. It takes the highest score of each symbol on each UTC day of Options.From to To, which are given, and of these the
// quantile that leaves as many symbol-days above it as the budget allows. A detector whose header has no threshold: line is not
// calibrated and is named in skipped. It writes nothing.
func Calibrate(ctx context.Context, dir *tape.Dir, opt Options, budget float64) (out []Calibration, skipped []string, problems []error, err error) {
	if !(budget > 0) {
		return nil, nil, nil, usage("a budget of %g alarms a day: it is more than 0", budget)
	}
	if opt.From.IsZero() || opt.To.IsZero() {
		return nil, nil, nil, usage("a window has a start and an end")
	}
	opt.DryRun = true
	r, err := prepare(ctx, dir, opt)
	if err != nil {
		return nil, nil, nil, err
	}
	all := window{opt.From.UTC().Add(time.Minute - 1).Truncate(time.Minute), opt.To.UTC().Truncate(time.Minute)}
	if end := r.end(); end.Before(all.end) {
		all.end = end
	}
	symbolDays := r.symbolDays(all)
	if symbolDays < 1 {
		return nil, nil, r.summary.Problems, usage("nothing was recorded long enough from %s to %s to be judged", clock(opt.From), clock(opt.To))
	}
	var queries []analytics.Query
	for _, query := range r.queries {
		if query.Threshold == "" {
			skipped = append(skipped, query.Name)
			continue
		}
		queries = append(queries, query)
	}
	days := all.end.Sub(all.start).Hours() / 24
	for _, query := range queries {
		param, _ := query.Param(query.Threshold)
		current, _ := param.Default.(float64)
		if set, ok := r.opt.Thresholds[query.Name][query.Threshold]; ok {
			current = number(set, current)
		}
		highest, err := r.highest(ctx, query, all, calibrateFrom*current)
		if ctx.Err() != nil {
			return nil, nil, nil, ctx.Err()
		}
		if err != nil {
			r.summary.Problems = append(r.summary.Problems, err)
			continue
		}
		slices.SortFunc(highest, func(a, b float64) int { return cmp.Compare(b, a) })
		c := Calibration{Detector: query.Name, Param: query.Threshold, Current: current, SymbolDays: symbolDays}
		allowed := int(budget * days / float64(len(queries)))
		if allowed >= len(highest) {
			c.Threshold, c.Floor = calibrateFrom*current, true
		} else {
			// The first score that is one too many must not reach it.
			c.Threshold = math.Floor(100*highest[allowed])/100 + 0.01
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
		quantile := func(share float64) float64 {
			if i := int(share * float64(c.AlarmsThreshold)); i < len(highest) && c.AlarmsThreshold > 0 {
				return math.Round(100*highest[i]) / 100
			}
			return c.Threshold
		}
		c.Medium, c.High = quantile(0.4), quantile(0.2)
		out = append(out, c)
	}
	slices.SortFunc(out, func(a, b Calibration) int { return strings.Compare(a.Detector, b.Detector) })
	return out, skipped, r.summary.Problems, nil
}

// symbolDays counts the symbols and UTC days with half a day's record before some of the window's part of them.
func (r *run) symbolDays(all window) (n int64) {
	for _, symbol := range r.index.Symbols() {
		bounds, ok := r.index.Bounds(symbol)
		if !ok {
			continue
		}
		judged := window{bounds.FirstAt.UTC().Add(dayBefore / 2), bounds.LastAt.UTC()}.cut(all)
		if !judged.empty() {
			n += int64(len(daysOf(judged)))
		}
	}
	return n
}

// highest gives the highest score of each symbol and day that has one of at least from.
func (r *run) highest(ctx context.Context, query analytics.Query, all window, from float64) (out []float64, err error) {
	lowered := maps.Clone(r.opt.Thresholds[query.Name])
	if lowered == nil {
		lowered = map[string]any{}
	}
	lowered[query.Threshold] = from
	if _, ok := query.Param("thin_z"); ok {
		// A second rule has no part in the budget of the first.
		lowered["thin_z"] = 1e9
	}
	asked := *r
	asked.opt.Thresholds = map[string]map[string]any{query.Name: lowered}
	asked.opt.SymbolThresholds = nil
	for _, day := range daysOf(all) {
		options, _ := r.sessionOptions([]analytics.Query{query}, day)
		session, err := analytics.Open(ctx, r.dir, options)
		if err != nil {
			return nil, err
		}
		// Every row counts here, and not only those that begin an event.
		each := query
		each.Cooldown = time.Nanosecond
		rows, err := asked.query(ctx, session, each, day)
		session.Close()
		if err != nil {
			return nil, err
		}
		most := map[string]float64{}
		for _, row := range rows {
			if old, ok := most[row.Symbol]; day.covers(row.At) && (!ok || row.Score > old) {
				most[row.Symbol] = row.Score
			}
		}
		out = append(out, slices.Collect(maps.Values(most))...)
	}
	return out, nil
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
