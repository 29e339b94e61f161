package detect

import (
	"context"
	"maps"
	"slices"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/state"
	"tapedeck/internal/window"
)

// Unjudged is how many minutes of a symbol at least one detector could not judge, by reason.
type Unjudged struct {
	Symbol string
	// History is the minutes before which too little is recorded.
	History int64
	// Gap is the minutes in which, or shortly before which, ids are missing that the exchange itself
	// does not have.
	Gap int64
	// Dropped and Waiting are the same for ids that were dropped on purpose, and for those that may still
	// arrive.
	Dropped, Waiting int64
}

// outcomesOf returns what the detectors that ran judged of one day, and what those that failed did not.
// The open session must be that of the day.
func (r *run) outcomesOf(ctx context.Context, done []analytics.Query, day window.Window) (outcomes []state.Judged, err error) {
	var judgeable *judgeable
	if len(done) > 0 {
		if judgeable, err = r.judgeable(ctx, done, day); err != nil {
			return nil, err
		}
	}
	for _, query := range r.queries {
		isDone := slices.ContainsFunc(done, func(q analytics.Query) bool { return q.Name == query.Name })
		if !isDone && !r.failed[query.Name] {
			continue
		}
		for symbol, w := range r.windows[query.Name] {
			if w = w.Intersect(day); w.IsEmpty() {
				continue
			}
			spans := []state.JudgedSpan{{Start: w.Start, End: w.End, Reason: state.ReasonFailed}}
			if isDone {
				spans = judgeable.spans(query, symbol, w)
				r.countUnjudged(symbol, spans)
			}
			outcomes = append(outcomes, state.Judged{Detector: query.Name, Symbol: symbol, Spans: spans})
		}
	}
	return outcomes, nil
}

// recordJudged records outcomes for reports. A run over a given window leaves what was judged before.
func (r *run) recordJudged(outcomes []state.Judged) error {
	if r.opt.DryRun || len(outcomes) == 0 {
		return nil
	}
	return state.RecordJudged(r.dir.State(), outcomes, !r.opt.From.IsZero())
}

// recordDefinitions notes with which SQL the detectors judge from now on.
func (r *run) recordDefinitions() error {
	if r.opt.DryRun {
		return nil
	}
	hashes := map[string]string{}
	for _, query := range r.queries {
		hashes[query.Name] = query.Definition()
	}
	changed, err := state.RecordDefinitions(r.dir.State(), hashes)
	for _, name := range changed {
		r.opt.Logger.Warn("the detector has changed; what it judged before does not count as judged any more", "detector", name)
	}
	return err
}

// recordWaiting records which time is not judged because ids are missing that may still arrive.
func (r *run) recordWaiting() error {
	var outcomes []state.Judged
	for _, query := range r.queries {
		for symbol, w := range r.waiting[query.Name] {
			spans := []state.JudgedSpan{{Start: w.Start, End: w.End, Reason: state.ReasonWaiting}}
			outcomes = append(outcomes, state.Judged{Detector: query.Name, Symbol: symbol, Spans: spans})
		}
	}
	return r.recordJudged(outcomes)
}

// countUnjudged adds the spans of one detector to those of a symbol, by reason; "" is judged.
func (r *run) countUnjudged(symbol string, spans []state.JudgedSpan) {
	byReason := r.unjudged[symbol]
	if byReason == nil {
		byReason = map[string][]window.Window{}
		r.unjudged[symbol] = byReason
	}
	for _, span := range spans {
		byReason[span.Reason] = append(byReason[span.Reason], span.Window())
	}
}

// summarizeUnjudged sets Unjudged of the summary. A minute counts once, whatever the number of detectors.
func (r *run) summarizeUnjudged() {
	for _, symbol := range slices.Sorted(maps.Keys(r.unjudged)) {
		all := window.Window{Start: time.Unix(0, 0), End: r.summary.Judged.End}
		u := Unjudged{Symbol: symbol}
		u.History = minutesIn(window.Merge(r.unjudged[symbol][state.ReasonHistory]), all)
		u.Gap = minutesIn(window.Merge(r.unjudged[symbol][state.ReasonGap]), all)
		u.Dropped = minutesIn(window.Merge(r.unjudged[symbol][state.ReasonDropped]), all)
		u.Waiting = minutesIn(window.Merge(r.unjudged[symbol][state.ReasonWaiting]), all)
		if u.History+u.Gap+u.Dropped+u.Waiting > 0 {
			r.summary.Unjudged = append(r.summary.Unjudged, u)
		}
		judged := r.unjudged[symbol][""]
		var lost []window.Window
		for reason, windows := range r.unjudged[symbol] {
			if reason != "" && reason != state.ReasonUnknown {
				lost = append(lost, windows...)
			}
		}
		looked := minutesIn(window.Merge(slices.Concat(judged, lost)), all)
		r.summary.Minutes += looked
		r.summary.JudgedMinutes += minutesIn(window.Merge(judged), all)
		r.summary.WholeMinutes += looked - minutesIn(window.Merge(lost), all)
	}
}
