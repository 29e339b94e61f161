package stream

import (
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/window"
)

// watchedFile keeps the recorder's file of watched spans. What is in it is on the tape: the spans are
// taken before a batch is, and written after it was published.
type watchedFile struct {
	dir     *state.Dir
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
	err := state.NewWatched(f.runID, f.prepared).Write(f.dir)
	if err != nil && !f.failed {
		f.log.Warn("not recorded up to when the symbols are known", "error", err)
	}
	if f.failed = err != nil; !f.failed {
		f.written = f.prepared
	}
}

// until returns, by symbol, up to when it is known according to the file; zero for unknown symbols.
func (f *watchedFile) until(symbol string) time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	spans := f.written[symbol]
	if len(spans) == 0 {
		return time.Time{}
	}
	return spans[len(spans)-1].End
}
