package stream

import (
	"context"
	"time"

	"tapedeck/internal/state"
)

// flushRequestEvery is how often a recorder looks for a request to publish what it holds.
const flushRequestEvery = 250 * time.Millisecond

// awaitFlushRequests makes the batch due whenever another command asks for it, until ctx is done.
func (r *Recorder) awaitFlushRequests(ctx context.Context) {
	ticker := time.NewTicker(flushRequestEvery)
	defer ticker.Stop()
	last := state.FlushRequest(r.dir.State())
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if request := state.FlushRequest(r.dir.State()); request != last {
				last = request
				r.batcher.flush()
			}
		}
	}
}
