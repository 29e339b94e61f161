package main

import (
	"context"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/jobs/report"
)

// correctableFor is how long after a window's end its report is corrected: a day longer than crontab.yaml's backfill looks back.
const correctableFor = 8 * 24 * time.Hour

// corrected makes of a report the correction of the one that was sent of the same window, if there was one and it said otherwise.
func (a *app) corrected(dir *tape.Dir, built *report.Report) error {
	before, ok, err := report.LastDigest(dir, built.Window, built.Symbols)
	if err != nil {
		a.log.Warn("what the report said before cannot be read; it is sent as if it were the first", "error", err.Error())
		return nil
	}
	if !ok {
		return nil
	}
	return built.Correct(before)
}

// sendCorrections sends the corrected reports of earlier windows of which data were missing and have been had since. One that cannot be made
// is told to the log and left to the next time: it is no reason for this report to fail.
func (a *app) sendCorrections(ctx context.Context, box *mailbox, dir *tape.Dir, current report.Window, options report.Options) error {
	now := a.now()
	kept, err := report.Digests(dir, now.Add(-correctableFor))
	if err != nil {
		return err
	}
	for _, before := range kept {
		if before.Complete || before.Start.Equal(current.Start) && before.End.Equal(current.End) {
			continue
		}
		options.From, options.To, options.Symbols = before.Start, before.End, before.Symbols
		again, err := report.Build(ctx, dir, options)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err == nil && !before.HealedIn(again) {
			continue
		}
		if err == nil {
			err = again.Correct(before)
		}
		if err == nil {
			err = a.sendReport(ctx, box, dir, again)
		}
		if err != nil {
			a.log.Warn("an earlier report cannot be corrected now", "window_start", before.Start, "window_end", before.End, "error", err.Error())
		}
	}
	_, err = report.ForgetDigests(dir, now.Add(-correctableFor))
	return err
}
