package tape

import (
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
	return knownWithoutDropped(bounds, x.watched[symbol], x.answers[symbol], x.dropped[symbol]), true
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
			if bounds.FirstID <= a.ID && a.At.Before(k.Since) {
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

// refreshEvidence reads what recorders and the exchange's answers prove. It runs before the tape is
// listed, because a recorder publishes trades before it claims to have watched.
func (x *Index) refreshEvidence() (err error) {
	if x.watched, err = state.ReadWatched(x.state); err != nil {
		return err
	}
	x.answers, err = state.ReadAnswers(x.state)
	return err
}

// keptSpans is how many spans in which a symbol was watched are kept before the first trade on the
// tape, and how many after the last one.
const keptSpans = 16

// PruneWatched forgets when former recorders watched a symbol between the first and the last trade on
// the tape: only what reaches beyond these can prove anything. The caller holds the recorder's lock.
func (d *Dir) PruneWatched() error {
	bounds, err := d.extent.read()
	if err != nil {
		return err
	}
	return state.PruneWatched(d.state, func(symbol string, spans []window.Window) []window.Window {
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
