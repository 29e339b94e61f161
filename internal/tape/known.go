package tape

import (
	"fmt"
	"maps"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/window"
)

// Evidence is what proves an end of a symbol's Known.
type Evidence string

// The kinds of evidence.
const (
	ByTrade    Evidence = "trade"    // a trade on the tape: everything between the first and the last one has an id
	ByStream   Evidence = "stream"   // a recorder watched the symbol; see state.Watched
	ByExchange Evidence = "exchange" // the exchange answered; see state.Answers
	ByDrop     Evidence = "drop"     // what was before was dropped on purpose; only of Since
)

// Known is the window at whose ends a symbol's record is known to lack nothing. Inside it, Gaps lists
// what is missing. Before Since and from Until on there may have been trades that are not on the
// tape. Times are the exchange's, UTC.
//
// With no other evidence, the window reaches from the first trade to the last one: of what followed
// the last one, nothing is known.
type Known struct {
	Since, Until     time.Time
	SinceBy, UntilBy Evidence
}

// Known returns the window in which a symbol's record is known, as of the last Refresh. ok is false
// if nothing of the symbol was ever published.
func (x *Index) Known(symbol string) (known Known, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	bounds, ok := x.boundsOf(symbol, x.runsOf(symbol))
	if !ok {
		return Known{}, false
	}
	return knownWithoutDropped(bounds, x.evidence.watched[symbol], x.evidence.answers[symbol], x.dropped[symbol]), true
}

// knownWithoutDropped is knownFrom for a record from which ids were dropped on purpose.
func knownWithoutDropped(bounds Bounds, watched []window.Window, answers state.SymbolAnswers, dropped []IDRun) Known {
	known := knownFrom(bounds, watched, answers)
	for _, run := range dropped {
		if run.Last+1 == bounds.FirstID {
			// A recorder may have watched before, but what it recorded then was dropped.
			known.Since, known.SinceBy = timeOf(run.LastAt+1), ByDrop
		}
	}
	return known
}

// knownFrom extends a symbol's bounds by what was watched and what the exchange answered. One can
// attach to the other, so it repeats until nothing changes.
func knownFrom(bounds Bounds, watched []window.Window, answers state.SymbolAnswers) Known {
	k := Known{Since: bounds.FirstAt, Until: bounds.LastAt, SinceBy: ByTrade, UntilBy: ByTrade}
	if bounds.FirstID == 0 {
		k.Since = time.Unix(0, 0).UTC() // the feed starts with this id
	}
	for changed := true; changed; {
		before := k
		for _, a := range answers.LastBefore {
			if bounds.LastID >= a.ID && a.At.After(k.Until) {
				k.Until, k.UntilBy = a.At, ByExchange
			}
		}
		for _, a := range answers.FirstFrom {
			earlier := a.At.Before(k.Since) || a.At.Equal(k.Since) && k.SinceBy == ByTrade
			if bounds.FirstID <= a.ID && earlier {
				k.Since, k.SinceBy = a.At, ByExchange
			}
		}
		for _, span := range watched {
			if !span.Start.After(k.Until) && span.End.After(k.Until) {
				k.Until, k.UntilBy = span.End, ByStream
			}
			if !span.End.Before(k.Since) && span.Start.Before(k.Since) {
				k.Since, k.SinceBy = span.Start, ByStream
			}
		}
		changed = k != before
	}
	return k
}

// evidence is what recorders and the exchange's answers prove, by symbol. It is read before the tape is
// listed, because a recorder publishes trades before it claims to have watched.
type evidence struct {
	watched map[string][]window.Window
	answers state.Answers
	// published are the ends of the tape that the claims are about.
	published map[string]state.Ends
}

func readEvidence(dir *state.Dir) (e evidence, err error) {
	if e.watched, e.published, err = state.ReadWatched(dir); err != nil {
		return e, err
	}
	if e.answers, err = state.ReadAnswers(dir); err != nil {
		return e, err
	}
	for symbol, answers := range e.answers {
		if answers.Published == nil {
			continue
		}
		ends, ok := e.published[symbol]
		if !ok {
			ends = *answers.Published
		}
		e.published[symbol] = ends.Union(*answers.Published)
	}
	return e, nil
}

func (d *Dir) readEvidence() (evidence, error) { return readEvidence(d.state) }

// ends returns the first and the last trade of each symbol that were ever published, also of dropped ones.
func (d *Dir) ends() (map[string]state.Ends, error) {
	evidence, err := d.readEvidence()
	if err != nil {
		return nil, err
	}
	bounds, err := d.extent.readAll(evidence.published)
	if err != nil {
		return nil, err
	}
	out := make(map[string]state.Ends, len(bounds))
	for symbol, b := range bounds {
		out[symbol] = state.Ends(b)
	}
	return out, nil
}

// RecordWatched replaces the file that says when the recorder of a run watched its symbols, by symbol. All
// trades in these spans must have been published.
func (d *Dir) RecordWatched(runID string, spans map[string][]window.Window) error {
	ends, err := d.ends()
	if err != nil {
		return fmt.Errorf("record what was watched: %w", err)
	}
	maps.DeleteFunc(ends, func(symbol string, _ state.Ends) bool { return len(spans[symbol]) == 0 })
	return state.NewWatched(runID, spans, ends).Write(d.state)
}

// RecordAnswers records what the exchange answered. What was fetched because of the answers must have been
// published.
func (d *Dir) RecordAnswers(answers state.Answers) error {
	ends, err := d.ends()
	if err != nil {
		return fmt.Errorf("record the exchange's answers: %w", err)
	}
	for symbol, answer := range answers {
		if published, ok := ends[symbol]; ok {
			answer.Published = &published
			answers[symbol] = answer
		}
	}
	return state.RecordAnswers(d.state, answers)
}

// keptSpans is how many spans in which a symbol was watched are kept before the first trade on the
// tape, and how many after the last one.
const keptSpans = 16

// PruneWatched forgets when former recorders watched a symbol between the first and the last trade on
// the tape: only what reaches beyond these can prove anything. The caller holds the recorder's lock.
func (d *Dir) PruneWatched() error {
	evidence, err := d.readEvidence()
	if err != nil {
		return err
	}
	bounds, err := d.extent.read(evidence.published)
	if err != nil {
		return err
	}
	ends, err := d.ends() // an earlier version did not write them
	if err != nil {
		return err
	}
	return state.PruneWatched(d.state, ends, func(symbol string, spans []window.Window) []window.Window {
		b, recorded := bounds[symbol]
		var before, after []window.Window
		for _, span := range spans {
			switch {
			case !recorded || span.Start.Before(b.FirstAt):
				before = append(before, span)
			case !span.End.Before(b.LastAt):
				after = append(after, span)
			}
		}
		before, after = before[max(0, len(before)-keptSpans):], after[max(0, len(after)-keptSpans):]
		return append(before, after...)
	})
}
