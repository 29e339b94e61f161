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
	"tapedeck/internal/window"
)

// LookAhead is an alert that depends on trades after it, or on where the run began.
type LookAhead struct {
	Detector, Symbol string
	At               time.Time
	// Cutoff is where the shortened tape ended, at or after At.
	Cutoff time.Time
	// InFull is set if the run over the full tape raised the alert, and not set if only the run over the
	// shortened tape did.
	InFull bool
}

func (l LookAhead) String() string {
	difference := "differs or is missing if the tape ends at"
	if !l.InFull {
		difference = "is only raised if the tape ends at"
	}
	return fmt.Sprintf("%s of %s at %s %s %s", l.Detector, l.Symbol, rfc3339(l.At), difference, rfc3339(l.Cutoff))
}

const (
	// lookAheadDefault is how much of the end of the tape is checked if no window is given.
	lookAheadDefault = 24 * time.Hour
	// maxAlertCutoffs limits the cutoffs that are chosen for alerts; evenCutoffs are chosen in even steps.
	maxAlertCutoffs = 24
	evenCutoffs     = 6
	// comparedBefore is how long before a cutoff alerts are compared.
	comparedBefore = time.Hour
)

// LookAheadCheck is the result of CheckLookAhead.
type LookAheadCheck struct {
	// Window is what was checked, and Cutoffs are the instants in it at which the tape was shortened.
	Window  window.Window
	Cutoffs []time.Time
	// Detectors are those that did not fail. Alerts is how many alerts they raised in the window.
	Detectors []string
	Alerts    int
	// Found are the alerts that differ. There are none if the detectors are correct.
	Found []LookAhead
	// Problems are errors of single detectors; the others were checked.
	Problems []error
}

// CheckLookAhead runs the detectors over a window, and again over the tape shortened to several instants
// in the window: at alerts, shortly after them and between them. The window is the last day on the tape
// by default. It writes nothing.
func CheckLookAhead(ctx context.Context, dir *tape.Dir, opt Options) (LookAheadCheck, error) {
	var out LookAheadCheck
	opt.DryRun = true
	r, w, err := newCheck(ctx, dir, opt, lookAheadDefault)
	if err != nil {
		return out, err
	}
	out.Window = w
	full := map[string][]tape.Alert{}
	for _, day := range w.Days() {
		rows, err := r.alertsIn(ctx, day, time.Time{})
		if err != nil {
			return out, err
		}
		for name, alerts := range rows {
			full[name] = append(full[name], alerts...)
		}
	}
	var alerts []tape.Alert
	for _, name := range r.working() {
		alerts = append(alerts, full[name]...)
	}
	out.Alerts = len(alerts)
	out.Cutoffs = chooseCutoffs(w, alerts)
	for _, cutoff := range out.Cutoffs {
		compared := w.Intersect(window.Window{
			Start: cutoff.Truncate(time.Minute).Add(-comparedBefore),
			End:   cutoff.Add(time.Minute - 1).Truncate(time.Minute),
		})
		rows, err := r.alertsIn(ctx, compared, cutoff)
		if err != nil {
			return out, err
		}
		for _, name := range r.working() {
			out.Found = append(out.Found, compareAlerts(compared, cutoff, full[name], rows[name])...)
		}
	}
	out.Detectors, out.Problems = r.working(), r.summary.Problems
	slices.SortFunc(out.Found, func(a, b LookAhead) int {
		return cmp.Or(strings.Compare(a.Detector, b.Detector), a.At.Compare(b.At), strings.Compare(a.Symbol, b.Symbol), a.Cutoff.Compare(b.Cutoff))
	})
	return out, nil
}

// newCheck returns a run that writes nothing, and its window: that of the options, as far as it is on the
// tape, or else the last part of the tape.
func newCheck(ctx context.Context, dir *tape.Dir, opt Options, last time.Duration) (*run, window.Window, error) {
	r, err := newRun(ctx, dir, opt)
	if err != nil {
		return nil, window.Window{}, err
	}
	end, first := r.end(), time.Time{}
	for _, bounds := range r.index.AllBounds() {
		if first.IsZero() || bounds.FirstAt.Before(first) {
			first = bounds.FirstAt.UTC().Truncate(time.Minute)
		}
	}
	w := window.Window{Start: end.Add(-last), End: end}
	if !opt.From.IsZero() {
		w = window.Window{Start: opt.From, End: opt.To}.WholeMinutes()
	}
	w = w.Intersect(window.Window{Start: first, End: end})
	if end.IsZero() || w.IsEmpty() {
		if opt.From.IsZero() {
			return nil, w, usageError("the tape is empty")
		}
		return nil, w, usageError("the tape has nothing from %s to %s", rfc3339(opt.From), rfc3339(opt.To))
	}
	return r, w, nil
}

// alertsIn runs the detectors over w, on the tape up to the cutoff unless that is zero, and returns the
// alerts in w by detector. The failure of one detector is a problem, and it does not run again.
func (r *run) alertsIn(ctx context.Context, w window.Window, cutoff time.Time) (map[string][]tape.Alert, error) {
	queries := slices.DeleteFunc(slices.Clone(r.queries), func(q analytics.Query) bool { return r.failed[q.Name] })
	options := r.sessionOptions(queries, w)
	if !cutoff.IsZero() {
		options.Cutoff, options.To = cutoff, cutoff
		if !cutoff.Equal(w.End) {
			options.MinutesFrom = time.Time{} // the last minute is incomplete
		}
	}
	session, err := analytics.Open(ctx, r.dir, options)
	if err != nil {
		return nil, err
	}
	defer session.Close()
	out := map[string][]tape.Alert{}
	for _, query := range queries {
		rows, err := r.query(ctx, session, query, w)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			r.fail(query, err)
			continue
		}
		out[query.Name] = slices.DeleteFunc(rows, func(a tape.Alert) bool { return !raisedIn(w, a.At) })
	}
	return out, nil
}

// chooseCutoffs returns instants in w, sorted: at alerts, at the end of their minute, one minute later,
// and in even steps.
func chooseCutoffs(w window.Window, alerts []tape.Alert) (out []time.Time) {
	add := func(at time.Time) {
		if at.After(w.Start) && at.Before(w.End) && !slices.ContainsFunc(out, at.Equal) {
			out = append(out, at)
		}
	}
	alerts = slices.SortedFunc(slices.Values(alerts), func(a, b tape.Alert) int { return cmp.Compare(a.At, b.At) })
	step := max(1, (3*len(alerts)+maxAlertCutoffs-1)/maxAlertCutoffs)
	for i := 0; i < len(alerts); i += step {
		at := time.UnixMicro(alerts[i].At).UTC()
		minuteEnd := at.Add(time.Minute - 1).Truncate(time.Minute)
		add(at)
		add(minuteEnd)
		add(minuteEnd.Add(time.Minute))
	}
	for i := range evenCutoffs {
		add(w.Start.Add(time.Duration(i+1) * w.Duration() / (evenCutoffs + 1)).Truncate(time.Minute))
	}
	slices.SortFunc(out, time.Time.Compare)
	return out
}

// compareAlerts compares the alerts in w up to the cutoff, from the full tape and the shortened one.
func compareAlerts(w window.Window, cutoff time.Time, full, shortened []tape.Alert) (out []LookAhead) {
	others := map[alertKey]tape.Alert{}
	for _, a := range shortened {
		if a.At <= cutoff.UnixMicro() {
			others[keyOf(a)] = a
		}
	}
	for _, a := range full {
		if !raisedIn(w, a.At) || a.At > cutoff.UnixMicro() {
			continue
		}
		if other, ok := others[keyOf(a)]; !ok || !sameAlert(a, other) {
			out = append(out, LookAhead{a.Detector, a.Symbol, time.UnixMicro(a.At).UTC(), cutoff, true})
		}
		delete(others, keyOf(a))
	}
	for id := range others {
		out = append(out, LookAhead{id.detector, id.symbol, time.UnixMicro(id.at).UTC(), cutoff, false})
	}
	return out
}

// sameAlert compares what a detector returned. The last digits of a score may differ, because sums are
// added up in another order.
func sameAlert(a, b tape.Alert) bool {
	sameScore := a.Score == b.Score || math.Abs(a.Score-b.Score) <= 1e-9*math.Max(math.Abs(a.Score), math.Abs(b.Score))
	return sameScore && a.Severity == b.Severity && a.Message == b.Message && a.FirstID == b.FirstID && a.LastID == b.LastID
}
