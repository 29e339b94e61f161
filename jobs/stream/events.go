package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// recordStart takes the recorder's lock and adds its start to the history. If the recorder before it
// was killed, that is noticed now.
func (r *Recorder) recordStart(symbols int) {
	if before, ok := r.state.own(); ok && before.EndedAt.IsZero() && !before.UpdatedAt.IsZero() {
		r.history.addAsIs(killed(before))
		r.log.Warn("the recorder before this one was killed", "run_id", before.RunID, "last_sign_of_life", before.UpdatedAt)
	}
	if r.state.owned() {
		if err := r.dir.PruneWatched(); err != nil {
			r.log.Warn("what former recorders watched is not tidied up", "error", err)
		}
		// Another recorder on the same tape may hold what is missing.
		if last, err := r.dir.LastIDs(); err != nil {
			r.log.Warn("the tape's last ids cannot be read; what is missing before the start is not noticed", "error", err)
		} else {
			r.tracker.awaitFirst(last)
		}
	}
	r.history.add(tape.RecorderEvent{
		Event:   tape.EventStarted,
		Message: fmt.Sprintf("%s, %s, from %s", wording.Count(symbols, "symbol"), r.feed, r.opt.URL),
	})
}

// killed returns the event of a recorder that was killed, as its last state shows it.
func killed(last state.Stream) tape.RecorderEvent {
	message := fmt.Sprintf("process %d; this is its last sign of life", last.PID)
	if last.UnflushedTrades > 0 {
		message += fmt.Sprintf("; %s not written then", wording.Count(last.UnflushedTrades, "trade"))
	}
	return tape.RecorderEvent{Event: tape.EventKilled, At: last.UpdatedAt.UnixMicro(), RunID: last.RunID, Message: message}
}

// recordEnd adds the end to the history and writes it. err is what ended the recorder, or nil.
func (r *Recorder) recordEnd(ctx context.Context, counts Summary, err error) {
	message := wording.Count(counts.Trades, "trade") + " received"
	if err != nil {
		message = err.Error()
	}
	r.history.add(tape.RecorderEvent{Event: tape.EventStopped, Message: message})
	if errors.Is(err, ErrNotPublished) && ctx.Err() != nil {
		return
	}
	r.history.write(ctx)
}

// recordConnected adds to the history that a connection is up.
func (c *connector) recordConnected(streams int) {
	event := tape.RecorderEvent{Event: tape.EventConnected, Connection: c.name, Message: wording.Count(streams, "stream")}
	attempts := ""
	if c.refusals > 0 {
		attempts = fmt.Sprintf(", after %s", wording.Count(c.refusals, "failed attempt"))
	}
	switch {
	case !c.lostAt.IsZero():
		event.Event = tape.EventResumed
		event.Message = fmt.Sprintf("down for %s%s", time.Since(c.lostAt).Round(time.Millisecond), attempts)
	case c.connected:
		return // it takes over from one that is still up
	default:
		event.Message += attempts
	}
	c.connected, c.lostAt = true, time.Time{}
	c.history.add(event)
}

// endOf says for people how a connection ended by itself.
func endOf(err error) string {
	if code := binance.CloseCode(err); code > 0 {
		return fmt.Sprintf("the exchange closed the connection with code %d", code)
	}
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return "the connection broke: " + err.Error()
}

// recordLost adds to the history that the connection was lost, and why.
func (c *connector) recordLost(why string) {
	c.lostAt = time.Now()
	c.history.add(tape.RecorderEvent{Event: tape.EventLost, Connection: c.name, Message: why})
}
