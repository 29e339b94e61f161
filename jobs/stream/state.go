package stream

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/durable"
	"tapedeck/internal/redact"
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
	unlock func() // set while this recorder is the one that writes the file
	other  bool   // another recorder does
	failed bool
}

// own makes this recorder the one that writes the file, unless another one is, and returns what the
// file says about the recorder before it. ok is false if there is none, or if it may still be alive.
func (w *stateWriter) own() (before state.Stream, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unlock != nil && (!w.base.Locked || w.dir.Held(state.StreamLock)) {
		return state.Stream{}, false
	}
	if w.unlock != nil { // somebody removed the file
		w.unlock()
		w.unlock = nil
	}
	unlock, err := durable.TryLock(w.dir.Path(state.StreamLock))
	if errors.Is(err, durable.ErrLocked) {
		if !w.other {
			w.log.Warn("another recorder records to this tape: its state is shown by health and metrics")
		}
		w.other = true
		return state.Stream{}, false
	}
	if err != nil { // the file system may have no locks
		w.log.Warn("no lock for the recorder", "error", err)
		unlock = func() {}
	}
	w.unlock, w.base.Locked = unlock, err == nil
	return before, w.dir.Read(state.StreamFile, &before) == nil
}

// begin sets what does not change while the recorder runs.
func (w *stateWriter) begin(base state.Stream) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.base = base
}

// owned reports whether this recorder is the one that writes the file.
func (w *stateWriter) owned() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unlock != nil
}

// run writes the state regularly until ctx is done.
func (w *stateWriter) run(ctx context.Context) {
	ticker := time.NewTicker(stateEvery)
	defer ticker.Stop()
	for {
		w.own()
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
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unlock != nil {
		w.unlock()
		w.unlock = nil
	}
}

// write replaces the state file. A failure is logged once and does not stop the recorder.
func (w *stateWriter) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.unlock == nil {
		return
	}
	w.base.Number++
	s := w.base
	w.describe(&s)
	s.URL, s.Error = redact.Text(s.URL), redact.Text(s.Error)
	for i := range s.Connections {
		s.Connections[i].Trouble = redact.Text(s.Connections[i].Trouble)
	}
	err := w.dir.Write(state.StreamFile, &s)
	if err != nil && !w.failed {
		w.log.Warn("state not written", "error", err)
	}
	w.failed = err != nil
}

// restated returns an instant that was written before, unless the system's clock was set since: then it
// returns the same instant by the clock as it is set now.
func restated(written, now time.Time) time.Time {
	if now.Sub(written).Abs() > time.Second {
		return now
	}
	return written
}
