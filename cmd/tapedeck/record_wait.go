package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

const (
	// recordLag is how much later than its flush interval a recorder has the proof that it received
	// everything: it pings a quiet connection every 5 s and keeps 2 s of distance.
	recordLag = 10 * time.Second
	// maxRecordWait bounds the wait for a recorder with a long flush interval.
	maxRecordWait  = time.Minute
	recordInterval = 250 * time.Millisecond
	// arrivalLag is how much later than it matched a trade may reach the recorder, and flushAskEvery how
	// often the recorder is asked to publish: about as often as a quiet connection proves something new.
	arrivalLag    = 2 * time.Second
	flushAskEvery = 2500 * time.Millisecond
)

// waitForRecord waits until what was traded before end is on the tape and known, if end has just
// passed and a live recorder is about to write it: a bounded few seconds. Without it, a report of the
// time until now would never be complete.
func (a *app) waitForRecord(ctx context.Context, dir *tape.Dir, end time.Time, symbols []string) error {
	index := dir.Index()
	return a.awaitRecorder(ctx, dir, end, func(live state.Stream) (bool, error) {
		if err := index.Refresh(ctx); err != nil {
			return false, fmt.Errorf("read the tape's index: %w", err)
		}
		for symbol := range live.Symbols {
			if len(symbols) > 0 && !slices.Contains(symbols, symbol) {
				continue
			}
			if known, ok := index.Known(symbol); ok && known.Until.Before(end) { // what is not on the tape is never known
				return false, nil
			}
		}
		return true, nil
	})
}

// waitForFlush waits until a live recorder has published what it received of the time before end, as
// waitForRecord does. Without it, a backfill would fetch what the recorder holds.
func (a *app) waitForFlush(ctx context.Context, dir *tape.Dir, end time.Time) error {
	received := end.Add(arrivalLag)
	return a.awaitRecorder(ctx, dir, end, func(live state.Stream) (bool, error) {
		return live.UpdatedAt.After(received) && (live.UnflushedTrades == 0 || live.UnflushedSince.After(received)), nil
	})
}

// awaitRecorder asks a live recorder to publish what it holds until done, if it may still hold trades
// from before end. It waits at most for the recorder's flush interval and some seconds.
func (a *app) awaitRecorder(ctx context.Context, dir *tape.Dir, end time.Time, done func(state.Stream) (bool, error)) error {
	if !a.fixed.IsZero() {
		return nil
	}
	startedAt, wait := time.Now(), time.Duration(0)
	nextAsk := startedAt.Add(arrivalLag - a.clock().Sub(end))
	for {
		live, most, err := a.liveRecorder(dir, end)
		if err != nil || most == 0 {
			return err
		}
		if ok, err := done(live); err != nil || ok {
			return err
		}
		if wait == 0 {
			wait = most
			if isTerminal(a.stderr) {
				a.say("waiting until the recorder has written what was traded before %s UTC", end.UTC().Format(time.TimeOnly))
			}
		}
		left := wait - time.Since(startedAt)
		if left <= 0 {
			return nil
		}
		if now := time.Now(); !now.Before(nextAsk) {
			nextAsk = now.Add(flushAskEvery)
			if err := state.RequestFlush(dir.State(), now); err != nil {
				a.log.Debug("the recorder publishes when its flush interval is over", "error", err) // a tape that is mounted read-only
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, recordInterval)):
		}
	}
}

// liveRecorder returns the state of a live recorder that may hold trades from before end, and how long
// to wait for it at most: 0 if there is none, if it has published them, or if the end is not past.
func (a *app) liveRecorder(dir *tape.Dir, end time.Time) (live state.Stream, wait time.Duration, err error) {
	err = dir.State().Read(state.StreamFile, &live)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return live, 0, nil
	case err != nil:
		return live, 0, fmt.Errorf("read the recorder's state: %w", err)
	}
	now := a.clock()
	wait = time.Duration(live.FlushIntervalMS)*time.Millisecond + recordLag - now.Sub(end)
	if !live.IsRunning(dir.State(), now) || end.After(now) || wait <= 0 {
		return live, 0, nil
	}
	return live, min(wait, maxRecordWait), nil
}
