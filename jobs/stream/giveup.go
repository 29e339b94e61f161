package stream

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tapedeck/internal/binance"
)

// unreached notes that an attempt to make a connection failed. An exchange that answers, and be it with a refusal, is
// there; it says itself when to come back, and a new process would not do better. deck.mu is held.
func (l *link) unreached(err error, now int64) {
	var refusal *binance.RefusedError
	switch {
	case errors.As(err, &refusal):
		l.cutOff = 0
	case l.cutOff == 0:
		l.cutOff = now
	}
}

// cutOff says for how long no link has reached the exchange, and what the last one's trouble is. ok is false where one has.
func (d *deck) cutOff() (lasts time.Duration, trouble string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var latest int64
	for _, l := range d.links {
		if l.cutOff == 0 {
			return 0, "", false
		}
		if l.cutOff > latest {
			latest, trouble = l.cutOff, l.trouble
		}
	}
	if len(d.links) == 0 {
		return 0, "", false
	}
	return time.Duration(d.clock() - latest), trouble, true
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
			lasts, trouble, ok := r.deck.cutOff()
			if ok && lasts >= r.opt.GiveUpAfter {
				return fmt.Errorf("the exchange could not be reached for %s: %s", r.opt.GiveUpAfter, trouble)
			}
		}
	}
}
