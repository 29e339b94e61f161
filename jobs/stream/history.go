package stream

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tapedeck/internal/redact"
	"tapedeck/internal/tape"
)

// maxEvents bounds the events that wait while they cannot be written. Then the oldest are lost.
const maxEvents = 20_000

// history writes the recorder's own history to the tape's table of events, in batches: with each
// flush and at the end. It is safe for concurrent use.
type history struct {
	dir   *tape.Dir
	runID string
	log   *slog.Logger

	mu      sync.Mutex
	waiting []tape.RecorderEvent
	failed  bool
}

// add adds an event that happens now.
func (h *history) add(event tape.RecorderEvent) {
	event.At, event.RunID = time.Now().UnixMicro(), h.runID
	h.addAsIs(event)
}

// addAsIs adds an event of another time or run.
func (h *history) addAsIs(event tape.RecorderEvent) {
	event.Message = redact.Text(event.Message)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting = append(h.waiting, event)
	if surplus := len(h.waiting) - maxEvents; surplus > 0 {
		h.waiting = h.waiting[surplus:]
	}
}

// addGaps adds gaps in the stream.
func (h *history) addGaps(gaps []symbolGap) {
	for _, gap := range gaps {
		first, last := gap.ids.First, gap.ids.Last
		h.add(tape.RecorderEvent{
			Event: tape.EventGap, Symbol: gap.symbol, FirstID: &first, LastID: &last, IDs: last - first + 1,
			Message: gap.cause(),
		})
	}
}

// cause says why the ids are missing.
func (g symbolGap) cause() string {
	if g.before {
		return tape.GapBeforeStart
	}
	return tape.GapInStream
}

// write publishes the events that wait. What cannot be published waits for the next call; a failure is
// logged once.
func (h *history) write(ctx context.Context) {
	h.mu.Lock()
	events := h.waiting
	h.waiting = nil
	h.mu.Unlock()
	if len(events) == 0 {
		return
	}
	_, err := h.dir.PublishRecorderEvents(ctx, events)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err != nil {
		h.waiting = append(events, h.waiting...)
		if !h.failed {
			h.log.Warn("the recorder's history is not written", "error", err)
		}
	}
	h.failed = err != nil
}
