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
)

// waitForRecord waits until what was traded before end is on the tape and known, if end has just
// passed and a live recorder is about to write it: a bounded few seconds. Without it, a report of the
// time until now would never be complete.
func (a *app) waitForRecord(ctx context.Context, dir *tape.Dir, end time.Time, symbols []string) error {
	if !a.fixed.IsZero() {
		return nil
	}
	wait, recorded, err := a.recorderDeadline(dir, end)
	if err != nil || len(recorded) == 0 {
		return err
	}
	startedAt := time.Now()
	if len(symbols) > 0 {
		recorded = slices.DeleteFunc(recorded, func(symbol string) bool { return !slices.Contains(symbols, symbol) })
	}
	index := dir.Index()
	for said := false; ; said = true {
		if err := index.Refresh(ctx); err != nil {
			return fmt.Errorf("read the tape's index: %w", err)
		}
		isKnown := func(symbol string) bool {
			known, ok := index.Known(symbol)
			return !ok || !known.Until.Before(end) // what is not on the tape is never known
		}
		left := wait - time.Since(startedAt)
		if left <= 0 || !slices.ContainsFunc(recorded, func(symbol string) bool { return !isKnown(symbol) }) {
			return nil
		}
		if !said && isTerminal(a.stderr) {
			a.say("waiting up to %d s until the recorder has written what was traded before %s UTC",
				int(left.Seconds())+1, end.UTC().Format(time.TimeOnly))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, recordInterval)):
		}
	}
}

// recorderDeadline returns how long to wait at most for the record of a window that ends at end, at most
// about maxRecordWait, and the symbols that a live recorder records: none if there is no live recorder
// or if the end is not just past.
func (a *app) recorderDeadline(dir *tape.Dir, end time.Time) (wait time.Duration, symbols []string, err error) {
	var live state.Stream
	err = dir.State().Read(state.StreamFile, &live)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, nil, nil
	case err != nil:
		return 0, nil, fmt.Errorf("read the recorder's state: %w", err)
	}
	now := a.clock()
	wait = min(time.Duration(live.FlushIntervalMS)*time.Millisecond+recordLag, maxRecordWait) - now.Sub(end)
	if !live.IsRunning(dir.State(), now) || end.After(now) || wait <= 0 {
		return 0, nil, nil
	}
	for symbol := range live.Symbols {
		symbols = append(symbols, symbol)
	}
	return wait, symbols, nil
}
