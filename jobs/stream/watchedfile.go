package stream

import (
	"log/slog"
	"maps"
	"slices"
	"sync"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
)

// watchedFile keeps the recorder's file of watched spans. What is in it is on the tape: the spans are
// taken before a batch is, and written after it was published.
type watchedFile struct {
	dir     *tape.Dir
	runID   string
	log     *slog.Logger
	watcher *watcher

	prepared map[string][]window.Window // belongs to the publishing goroutine

	mu      sync.Mutex
	written map[string][]window.Window
	failed  bool
}

// prepare takes the spans that the next write may claim.
func (f *watchedFile) prepare() { f.prepared = f.watcher.spans() }

// write writes the prepared spans. The caller has published everything that was taken after prepare.
// A failure is logged once and costs only the claim.
func (f *watchedFile) write() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if maps.EqualFunc(f.prepared, f.written, slices.Equal) {
		return
	}
	err := f.dir.RecordWatched(f.runID, f.prepared)
	if err != nil && !f.failed {
		f.log.Warn("not recorded up to when the symbols are known", "error", err)
	}
	if f.failed = err != nil; !f.failed {
		f.written = f.prepared
	}
}

// describe fills in the file's part of the state, in which the symbols are.
func (f *watchedFile) describe(s *state.Stream) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, symbol := range s.Symbols {
		if spans := f.written[name]; len(spans) > 0 {
			symbol.WatchedUntil = spans[len(spans)-1].End
			s.Symbols[name] = symbol
		}
	}
}
