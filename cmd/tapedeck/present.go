package main

import (
	"context"
	"fmt"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
)

// maxSkew is by how much this machine's clock may differ from the exchange's before it matters: as for
// health.
const maxSkew = time.Minute

// newestTrade returns the time of the newest trade on the tape, at the exchange; zero if there is none.
func newestTrade(ctx context.Context, dir *tape.Dir) (newest time.Time, err error) {
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return newest, fmt.Errorf("read the tape's index: %w", err)
	}
	for _, bounds := range index.AllBounds() {
		if bounds.LastAt.After(newest) {
			newest = bounds.LastAt
		}
	}
	return newest, nil
}

// recordedTime returns what time it is at the exchange according to the recorder's latest trades and the
// time since then by a clock that nobody sets; zero if that is unknown. running reports whether the
// recorder is alive.
func recordedTime(dir *tape.Dir, now time.Time) (at time.Time, running bool) {
	var stream state.Stream
	if err := dir.State().Read(state.StreamFile, &stream); err != nil || stream.ExchangeAt.IsZero() {
		return time.Time{}, false
	}
	uptime := dir.State().Uptime()
	at = stream.ExchangeAt.Add(uptime.Elapsed(stream.Uptime, 0))
	return at, uptime.Boot != "" && uptime.Boot == stream.Boot && stream.IsRunning(dir.State(), now)
}

// exchangeTime returns what time it is at the exchange at least: that of the newest trade on the tape, or
// of the recorder's latest plus the time since then.
func (a *app) exchangeTime(ctx context.Context, dir *tape.Dir) time.Time {
	latest, err := newestTrade(ctx, dir)
	if err != nil && ctx.Err() == nil {
		a.log.Warn("time of the newest trade not read", "error", err)
	}
	if at, _ := recordedTime(dir, a.now()); at.After(latest) {
		latest = at
	}
	return latest
}

// present returns the present: by this machine's clock, or if a live recorder shows that the exchange's
// clock differs, by that one. skew is how far the machine's is ahead of it; 0 if they agree.
func (a *app) present(dir *tape.Dir) (now time.Time, skew time.Duration) {
	now = a.now()
	if !a.fixed.IsZero() {
		return now, 0
	}
	at, running := recordedTime(dir, now)
	if skew := now.Sub(at); running && skew.Abs() > maxSkew {
		return at, skew
	}
	return now, 0
}

// sweepTime returns the present for what is deleted when it is old enough: by this machine's clock, or by
// the exchange's if a live recorder shows that it is earlier. It does not depend on --now.
func (a *app) sweepTime(dir *tape.Dir) time.Time {
	now := time.Now().UTC()
	if at, running := recordedTime(dir, now); running && now.Sub(at) > maxSkew {
		return at
	}
	return now
}

// warnOfSkew says that a window that ends now, by this machine's clock, is not what people mean.
func (a *app) warnOfSkew(dir *tape.Dir, window windowFlags) {
	at, skew := a.present(dir)
	if skew == 0 || !window.To.IsZero() {
		return
	}
	direction := "ahead of"
	if skew < 0 {
		direction = "behind"
	}
	const layout = "2006-01-02 15:04:05"
	a.say("this machine's clock is %s %s the exchange's, or trades arrive that late: the window ends at %s here, when it was %s there (UTC)",
		wording.Duration(skew.Abs()), direction, a.now().UTC().Format(layout), at.UTC().Format(layout))
}
