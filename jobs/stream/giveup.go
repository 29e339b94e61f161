package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tapedeck/jobs/internal/binance"
)

// unreached notes that an attempt to make a connection failed. An exchange that answers, and be it with a refusal, is
// there; it says itself when to come back, and a new process would not do better. deck.mu is held.
func (l *link) unreached(err error) {
	var refusal *binance.RefusedError
	switch {
	case errors.As(err, &refusal):
		l.cutOff = 0
	case l.cutOff == 0:
		l.cutOff = time.Now().UnixNano()
	}
}

// cutOff says since when no link has reached the exchange, and what the last one's trouble is. ok is false where one has.
func (d *deck) cutOff() (since time.Time, trouble string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var latest int64
	for _, l := range d.links {
		if l.cutOff == 0 {
			return time.Time{}, "", false
		}
		if l.cutOff > latest {
			latest, trouble = l.cutOff, l.trouble
		}
	}
	return time.Unix(0, latest), trouble, len(d.links) > 0
}

// awaitCutOff returns an error when the exchange could not be reached for Options.GiveUpAfter, and nil when ctx is done.
func (r *recorder) awaitCutOff(ctx context.Context) error {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			since, trouble, ok := r.deck.cutOff()
			if ok && time.Since(since) >= r.opt.GiveUpAfter {
				return fmt.Errorf("the exchange could not be reached for %s: %s", r.opt.GiveUpAfter, trouble)
			}
		}
	}
}
