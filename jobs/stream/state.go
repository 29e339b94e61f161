package stream

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/state"
)

// stateEvery is how often the state file is written.
const stateEvery = 5 * time.Second

// stateWriter writes the recorder's state file.
type stateWriter struct {
	dir      *state.Dir
	log      *slog.Logger
	describe func(*state.Stream) // fills in what changes while the recorder runs

	mu     sync.Mutex // one writer at a time
	base   state.Stream
	failed bool
}

// begin sets what does not change while the recorder runs.
func (w *stateWriter) begin(base state.Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.base = base
}

// run writes the state regularly until ctx is done.
func (w *stateWriter) run(ctx context.Context) {
	ticker := time.NewTicker(stateEvery)
	defer ticker.Stop()
	for {
		w.write()
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// writeEnd writes the state a last time. err is what ended the recorder; nil after a normal stop.
func (w *stateWriter) writeEnd(err error) {
	w.mu.Lock()
	w.base.EndedAt = time.Now().UTC()
	if err != nil {
		w.base.Error = err.Error()
	}
	w.mu.Unlock()
	w.write()
}

// write replaces the state file. A failure is logged once and does not stop the recorder.
func (w *stateWriter) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.base
	w.describe(&s)
	err := w.dir.Write(state.StreamFile, &s)
	if err != nil && !w.failed {
		w.log.Warn("state not written", "error", err)
	}
	w.failed = err != nil
}
