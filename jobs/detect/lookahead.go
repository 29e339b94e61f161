package detect

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
)

// LookAhead is an alert that depends on what was traded after it, or on when it was asked for.
type LookAhead struct {
	Detector, Symbol string
	At               time.Time
	// Cut is where the tape was cut, not before At.
	Cut time.Time
	// Whole says on which side it was found: by the run over the whole tape, or only by the one over the cut tape.
	Whole bool
}

func (l LookAhead) String() string {
	side := "is not raised so where the tape ends at"
	if !l.Whole {
		side = "is raised so only where the tape ends at"
	}
	return fmt.Sprintf("%s of %s at %s %s %s", l.Detector, l.Symbol, clock(l.At), side, clock(l.Cut))
}

const (
	// lookAheadDefault is how much of the tape's end is checked where no window is given.
	lookAheadDefault = 24 * time.Hour
	// lookAheadCuts is at how many instants the tape is cut for alerts, at most.
	lookAheadCuts = 24
	// lookAheadWindow is how far before a cut alerts are compared.
	lookAheadWindow = time.Hour
)

// LookAheads is what CheckLookAhead found.
type LookAheads struct {
	// From and To are the window that was checked, Cuts the instants in it at which the tape was cut.
	From, To time.Time
	Cuts     []time.Time
	// Detectors that were checked to the end, and Alerts they raised in the window.
	Detectors []string
	Alerts    int
	// Found are the alerts that differ; none is what a detector promises.
	Found []LookAhead
	// Problems are what is wrong with single detectors; the others were checked.
	Problems []error
}

// CheckLookAhead runs the detectors over a window and again over the tape cut at several instants in it: where alerts were raised, shortly after
// that, and between. Options.From and To are given, or neither, which is the last day on the tape. It writes nothing.
func CheckLookAhead(ctx context.Context, dir *tape.Dir, opt Options) (LookAheads, error) {
	var out LookAheads
	opt.DryRun = true
	r, all, err := prepare(ctx, dir, opt, lookAheadDefault)
	if err != nil {
		return out, err
	}
	out.From, out.To = all.start, all.end
	out.Problems = r.summary.Problems
	whole := map[string][]tape.Alert{}
	for _, day := range daysOf(all) {
		rows, problems, err := r.rowsOver(ctx, day, time.Time{})
		if err != nil {
			return out, err
		}
		out.Problems = append(out.Problems, problems...)
		for name, alerts := range rows {
			whole[name] = append(whole[name], alerts...)
		}
	}
	var alerts []tape.Alert
	for _, query := range r.queries {
		if !r.failed[query.Name] {
			alerts = append(alerts, whole[query.Name]...)
		}
	}
	out.Alerts = len(alerts)
	out.Cuts = cutsOf(all, alerts)
	for _, cut := range out.Cuts {
		before := window{cut.Truncate(time.Minute).Add(-lookAheadWindow), cut.Add(time.Minute - 1).Truncate(time.Minute)}.cut(all)
		rows, problems, err := r.rowsOver(ctx, before, cut)
		if err != nil {
			return out, err
		}
		out.Problems = append(out.Problems, problems...)
		for _, query := range r.queries {
			if !r.failed[query.Name] {
				out.Found = append(out.Found, differ(query.Name, before, cut, whole[query.Name], rows[query.Name])...)
			}
		}
	}
	for _, query := range r.queries {
		if !r.failed[query.Name] {
			out.Detectors = append(out.Detectors, query.Name)
		}
	}
	slices.SortFunc(out.Found, func(a, b LookAhead) int {
		return cmp.Or(strings.Compare(a.Detector, b.Detector), a.At.Compare(b.At), strings.Compare(a.Symbol, b.Symbol), a.Cut.Compare(b.Cut))
	})
	return out, nil
}

// prepare makes a run that has its detectors and knows what is on the tape, and the window that it looks at: that of the options as far as there is
// a tape, else the last of the tape.
func prepare(ctx context.Context, dir *tape.Dir, opt Options, last time.Duration) (*run, window, error) {
	var all window
	opt = opt.withDefaults()
	if opt.From.IsZero() != opt.To.IsZero() {
		return nil, all, usage("a window has a start and an end")
	}
	queries, problems, err := choose(opt)
	if err != nil {
		return nil, all, err
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, all, fmt.Errorf("see what is on the tape: %w", err)
	}
	r := &run{opt: opt, dir: dir, index: index, queries: queries, summary: &Summary{Problems: problems}, failed: map[string]bool{}}
	end, first := r.end(), time.Time{}
	for _, symbol := range index.Symbols() {
		if bounds, ok := index.Bounds(symbol); ok && (first.IsZero() || bounds.FirstAt.Before(first)) {
			first = bounds.FirstAt.UTC().Truncate(time.Minute)
		}
	}
	all = window{end.Add(-last), end}
	if !opt.From.IsZero() {
		all = window{opt.From.UTC().Add(time.Minute - 1).Truncate(time.Minute), opt.To.UTC().Truncate(time.Minute)}
	}
	all = all.cut(window{first, end})
	if end.IsZero() || all.empty() {
		if opt.From.IsZero() {
			return nil, all, usage("there is nothing on the tape")
		}
		return nil, all, usage("the tape has nothing from %s to %s", clock(opt.From), clock(opt.To))
	}
	return r, all, nil
}

func daysOf(all window) (out []window) {
	for start := all.start; start.Before(all.end); {
		day := window{start, start.Truncate(24 * time.Hour).Add(24 * time.Hour)}.cut(all)
		out = append(out, day)
		start = day.end
	}
	return out
}

// rowsOver runs the detectors over a window of the tape, cut at an instant unless that is zero, and gives the alerts in the window by detector.
// One that cannot do its work is a problem, and is not run again.
func (r *run) rowsOver(ctx context.Context, over window, cut time.Time) (out map[string][]tape.Alert, problems []error, err error) {
	var queries []analytics.Query
	for _, query := range r.queries {
		if !r.failed[query.Name] {
			queries = append(queries, query)
		}
	}
	options, _ := r.sessionOptions(queries, over)
	if !cut.IsZero() {
		options.Before, options.To = cut, cut
		if !cut.Equal(over.end) {
			options.MinutesFrom = time.Time{} // a minute that is not over: they are made of the trades
		}
	}
	session, err := analytics.Open(ctx, r.dir, options)
	if err != nil {
		return nil, nil, err
	}
	defer session.Close()
	out = map[string][]tape.Alert{}
	for _, query := range queries {
		rows, err := r.query(ctx, session, query, over)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			r.failed[query.Name] = true
			problems = append(problems, err)
			continue
		}
		out[query.Name] = slices.DeleteFunc(rows, func(a tape.Alert) bool { return !over.covers(a.At) })
	}
	return out, problems, nil
}

// cutsOf chooses where to cut: at alerts, at the end of their minute, a minute after it, and in even steps.
func cutsOf(all window, alerts []tape.Alert) (out []time.Time) {
	add := func(at time.Time) {
		if at.After(all.start) && at.Before(all.end) && !slices.ContainsFunc(out, at.Equal) {
			out = append(out, at)
		}
	}
	alerts = slices.Clone(alerts)
	slices.SortFunc(alerts, func(a, b tape.Alert) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Detector, b.Detector), strings.Compare(a.Symbol, b.Symbol))
	})
	step := max(1, (3*len(alerts)+lookAheadCuts-1)/lookAheadCuts)
	for i := 0; i < len(alerts); i += step {
		at := time.UnixMicro(alerts[i].At).UTC()
		minute := at.Add(time.Minute - 1).Truncate(time.Minute)
		add(at)
		add(minute)
		add(minute.Add(time.Minute))
	}
	const even = 6
	for i := range int64(even) {
		add(all.start.Add(time.Duration(i+1) * all.end.Sub(all.start) / (even + 1)).Truncate(time.Minute))
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// differ compares the alerts of a window up to a cut.
func differ(detector string, over window, until time.Time, whole, cut []tape.Alert) (out []LookAhead) {
	type place struct {
		symbol string
		at     int64
	}
	there := map[place]tape.Alert{}
	for _, a := range cut {
		if a.At <= until.UnixMicro() {
			there[place{a.Symbol, a.At}] = a
		}
	}
	for _, a := range whole {
		if !over.covers(a.At) || a.At > until.UnixMicro() {
			continue
		}
		at := place{a.Symbol, a.At}
		if other, ok := there[at]; !ok || !sameAlert(a, other) {
			out = append(out, LookAhead{detector, a.Symbol, time.UnixMicro(a.At).UTC(), until, true})
		}
		delete(there, at)
	}
	for at := range there {
		out = append(out, LookAhead{detector, at.symbol, time.UnixMicro(at.at).UTC(), until, false})
	}
	return out
}

// sameAlert compares all that a detector says. Sums that were added up in another order may differ in the last digits of a score.
func sameAlert(a, b tape.Alert) bool {
	near := a.Score == b.Score || math.Abs(a.Score-b.Score) <= 1e-9*math.Max(math.Abs(a.Score), math.Abs(b.Score))
	return near && a.Severity == b.Severity && a.Message == b.Message && a.FirstID == b.FirstID && a.LastID == b.LastID
}
