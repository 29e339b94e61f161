package detect

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/analytics/tape"
)

// LookAhead is an alert that depends on what was traded after it, or on when it was asked for.
type LookAhead struct {
	Detector, Symbol string
	At               time.Time
	// Cut is where the tape was cut: a whole minute not before At.
	Cut time.Time
	// Whole says on which side it was found: by the run over the whole tape, or only by the one over the cut tape.
	Whole bool
}

func (l LookAhead) String() string {
	side := "is raised over the whole tape, and not where it ends at"
	if !l.Whole {
		side = "is raised only where the tape ends at"
	}
	return fmt.Sprintf("%s of %s at %s %s %s", l.Detector, l.Symbol, clock(l.At), side, clock(l.Cut))
}

const (
	// lookAheadCuts is at how many instants the tape is cut at most: those of alerts, and some between.
	lookAheadCuts = 24
	// lookAheadWindow is how far before a cut alerts are compared.
	lookAheadWindow = time.Hour
)

// CheckLookAhead runs the detectors over a window and again over the tape cut at several instants in it, and gives the alerts that
// differ; none is what a detector promises. Options.From and To are given; it writes nothing. Problems are those of single detectors.
func CheckLookAhead(ctx context.Context, dir *tape.Dir, opt Options) (found []LookAhead, cuts []time.Time, problems []error, err error) {
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
	if all.empty() {
		return nil, nil, r.summary.Problems, usage("the tape has nothing from %s to %s", clock(opt.From), clock(opt.To))
	}
	for _, query := range r.queries {
		whole := map[string][]tape.Alert{}
		var alerts []tape.Alert
		failed := false
		for _, chunk := range daysOf(all) {
			rows, err := r.rowsOver(ctx, query, chunk, time.Time{})
			if ctx.Err() != nil {
				return nil, nil, nil, ctx.Err()
			}
			if err != nil {
				r.summary.Problems = append(r.summary.Problems, err)
				failed = true
				break
			}
			alerts = append(alerts, rows...)
		}
		if failed {
			continue
		}
		whole[query.Name] = alerts
		for _, cut := range cutsOf(all, alerts) {
			if !slices.ContainsFunc(cuts, cut.Equal) {
				cuts = append(cuts, cut)
			}
			before := window{cut.Add(-lookAheadWindow), cut}.cut(all)
			rows, err := r.rowsOver(ctx, query, before, cut)
			if ctx.Err() != nil {
				return nil, nil, nil, ctx.Err()
			}
			if err != nil {
				r.summary.Problems = append(r.summary.Problems, err)
				break
			}
			found = append(found, differ(query.Name, before, alerts, rows)...)
		}
	}
	slices.SortFunc(cuts, time.Time.Compare)
	slices.SortFunc(found, func(a, b LookAhead) int {
		return cmp.Or(strings.Compare(a.Detector, b.Detector), a.At.Compare(b.At), strings.Compare(a.Symbol, b.Symbol), a.Cut.Compare(b.Cut))
	})
	return found, cuts, r.summary.Problems, nil
}

// prepare makes a run that has its detectors and knows what is on the tape.
func prepare(ctx context.Context, dir *tape.Dir, opt Options) (*run, error) {
	opt = opt.withDefaults()
	queries, problems, err := choose(opt)
	if err != nil {
		return nil, err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, fmt.Errorf("see what is on the tape: %w", err)
	}
	return &run{opt: opt, dir: dir, index: index, queries: queries, summary: &Summary{Problems: problems}}, nil
}

func daysOf(all window) (out []window) {
	for start := all.start; start.Before(all.end); {
		day := window{start, start.Truncate(24 * time.Hour).Add(24 * time.Hour)}.cut(all)
		out = append(out, day)
		start = day.end
	}
	return out
}

// rowsOver runs one detector over a window of the tape, cut at an instant unless that is zero, and gives the alerts in the window.
func (r *run) rowsOver(ctx context.Context, query analytics.Query, over window, cut time.Time) ([]tape.Alert, error) {
	options, known := r.sessionOptions([]analytics.Query{query}, over)
	options.Before, options.KeepMinutes = cut, known && cut.IsZero() && !r.opt.DryRun
	session, err := analytics.Open(ctx, r.dir, options)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	rows, err := r.query(ctx, session, query, over)
	return slices.DeleteFunc(rows, func(a tape.Alert) bool { return !over.covers(a.At) }), err
}

// cutsOf chooses where to cut: at the end of the minute of alerts, a minute after it, and in even steps.
func cutsOf(all window, alerts []tape.Alert) (out []time.Time) {
	add := func(at time.Time) {
		at = at.Truncate(time.Minute)
		if at.After(all.start) && at.Before(all.end) && !slices.ContainsFunc(out, at.Equal) {
			out = append(out, at)
		}
	}
	step := max(1, 2*len(alerts)/lookAheadCuts+1)
	for i := 0; i < len(alerts); i += step {
		at := time.UnixMicro(alerts[i].At).UTC().Add(time.Minute - 1)
		add(at)
		add(at.Add(time.Minute))
	}
	const even = 6
	for i := range int64(even) {
		add(all.start.Add(time.Duration(i+1) * all.end.Sub(all.start) / (even + 1)))
	}
	return out
}

// differ compares the alerts of a window.
func differ(detector string, over window, whole, cut []tape.Alert) (out []LookAhead) {
	type place struct {
		symbol string
		at     int64
	}
	text := func(a tape.Alert) string { return fmt.Sprint(a.Score, a.Severity, a.Message, a.FirstID, a.LastID) }
	there := map[place]string{}
	for _, a := range cut {
		there[place{a.Symbol, a.At}] = text(a)
	}
	for _, a := range whole {
		if !over.covers(a.At) {
			continue
		}
		at := place{a.Symbol, a.At}
		if there[at] != text(a) {
			out = append(out, LookAhead{detector, a.Symbol, time.UnixMicro(a.At).UTC(), over.end, true})
		}
		delete(there, at)
	}
	for at := range there {
		out = append(out, LookAhead{detector, at.symbol, time.UnixMicro(at.at).UTC(), over.end, false})
	}
	return out
}
