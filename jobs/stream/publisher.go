package stream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

// publishPauses are the waits before a failed publication is tried again.
var publishPauses = [...]time.Duration{time.Second, 2 * time.Second, 4 * time.Second}

// publisher writes batches to the tape and counts them.
type publisher struct {
	dir      *tape.Dir
	runID    string
	log      *slog.Logger
	clock    clock
	stopping <-chan struct{}         // closed: only one more attempt is made
	agreed   func() map[string]int64 // duplicates that are not in the batches because they are equal

	mu                            sync.Mutex
	flushes, rows, dropped, bytes int64
	conflicts                     int64
	lastFlushAt                   time.Time
	writtenUntil                  map[string]int64 // by symbol: traded_at of its newest trade on the tape
}

// publish writes the rows, sorted by symbol and id, in one or more attempts. What it returns with
// an error is on the tape nevertheless.
func (p *publisher) publish(ctx context.Context, rows []tape.Trade, inexact int64) (tape.Published, error) {
	startedAt := time.Now()
	origin := tape.Origin{Source: tape.FromStream, Run: p.runID, Inexact: inexact, At: startedAt, Agreed: p.agreed()}
	var done tape.Published
	for attempt := 0; ; attempt++ {
		published, err := p.dir.Publish(ctx, rows, origin)
		done.Rows += published.Rows
		done.Bytes += published.Bytes
		done.Segments = append(done.Segments, published.Segments...)
		done.Conflicts, done.ConflictRows = published.Conflicts, published.ConflictRows
		if err == nil {
			break
		}
		var disagreement *tape.DisagreementError
		if errors.As(err, &disagreement) || attempt == len(publishPauses) || ctx.Err() != nil || attempt > 0 && isClosed(p.stopping) {
			p.count(done)
			return done, err
		}
		p.log.Error("batch not published, trying again", "rows", len(rows), "attempt", attempt+1, "error", err)
		pause := time.NewTimer(publishPauses[attempt])
		select {
		case <-pause.C:
		case <-p.stopping:
		case <-ctx.Done():
		}
		pause.Stop()
	}
	done.Dropped = int64(len(rows)) - done.Rows
	p.count(done)
	now := time.Now()
	p.mu.Lock()
	p.flushes++
	p.noteWritten(rows)
	p.lastFlushAt = now
	p.mu.Unlock()
	if done.Conflicts > 0 {
		p.log.Warn("trades refused: their ids have another content on the tape", "conflicts", done.Conflicts,
			"first", done.ConflictRows[0].String())
	}
	p.log.Info("segment published", "rows", done.Rows, "dropped", done.Dropped, "bytes", done.Bytes,
		"segments", len(done.Segments), "elapsed_ms", now.Sub(startedAt).Milliseconds())
	return done, nil
}

func (p *publisher) count(done tape.Published) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rows += done.Rows
	p.dropped += done.Dropped
	p.bytes += done.Bytes
	p.conflicts += done.Conflicts
}

// noteWritten remembers the newest trade of each symbol. The rows are sorted by symbol and id.
func (p *publisher) noteWritten(rows []tape.Trade) {
	if p.writtenUntil == nil {
		p.writtenUntil = map[string]int64{}
	}
	for i, row := range rows {
		if i+1 == len(rows) || rows[i+1].Symbol != row.Symbol {
			p.writtenUntil[row.Symbol] = max(p.writtenUntil[row.Symbol], row.TradedAt)
		}
	}
}

// describe fills in the publisher's part of the state.
func (p *publisher) describe(s *state.Stream) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.LastFlushAt = p.clock.restate(p.lastFlushAt)
	s.Counters.Flushes, s.Counters.Rows, s.Counters.Dropped, s.Counters.Bytes = p.flushes, p.rows, p.dropped, p.bytes
	s.Counters.Conflicts = p.conflicts
	for name, symbol := range s.Symbols {
		if at, ok := p.writtenUntil[name]; ok {
			symbol.WrittenUntil = time.UnixMicro(at).UTC()
			s.Symbols[name] = symbol
		}
	}
}
