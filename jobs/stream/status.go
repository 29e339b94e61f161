package stream

import "time"

// Status is what somebody who watches a recorder sees at a glance. Counts are since it started.
type Status struct {
	StartedAt time.Time // zero until the symbols are known
	Symbols   int
	// Trades counts the trades that were received for the first time. Of these, the newest on the
	// exchange was traded at NewestTradedAt (exchange time; zero if there is none).
	Trades         int64
	NewestTradedAt time.Time
	// Gaps and Missing count ranges of ids that no connection delivered in time, and the ids in
	// them, whether they were fetched since or not.
	Gaps, Missing int64
	// GapsBefore and MissingBefore are the same for ids between the last one on the tape at the start and
	// the first one that was received.
	GapsBefore, MissingBefore int64
	// Of the Connections that should be up, Up are.
	Connections, Up int
	// Unflushed trades wait to be written. LastFlushAt is zero before the first time.
	LastFlushAt time.Time
	Unflushed   int
}

// Status describes the recorder as it is now. It may be called at any time, also while Run runs.
func (r *Recorder) Status() Status {
	s := r.tracker.status()
	s.StartedAt = r.state.startedAt()
	s.Trades, _ = r.batcher.added()
	s.Unflushed, _ = r.batcher.waiting()
	s.LastFlushAt = r.publisher.flushedAt()
	return s
}

// status fills in the tracker's part of a Status.
func (t *tracker) status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := Status{Gaps: t.counts.Gaps, Missing: t.counts.Missing, GapsBefore: t.counts.GapsBefore,
		MissingBefore: t.counts.MissingBefore, Connections: len(t.connectors)}
	for _, c := range t.connectors {
		if c.current != nil && !c.current.ended {
			s.Up++
		}
	}
	var newest int64
	for _, symbol := range *t.symbols.Load() {
		if symbol.requested {
			s.Symbols++
		}
		newest = max(newest, symbol.lastTradedAt)
	}
	if newest > 0 {
		s.NewestTradedAt = time.UnixMicro(newest).UTC()
	}
	return s
}

// startedAt returns when recording started, or zero.
func (w *stateWriter) startedAt() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.base.StartedAt
}

// flushedAt returns when a batch was last published, or zero.
func (p *publisher) flushedAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lastFlushAt.UTC()
}
