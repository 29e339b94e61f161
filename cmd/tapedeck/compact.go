package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/dustin/go-humanize"

	"tapedeck/analytics"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/internal/wording"
	"tapedeck/jobs/compact"
	"tapedeck/jobs/schedule"
)

type compactCmd struct {
	windowFlags
	Force bool `help:"Merge every day's files into as few as possible, even those of the current hour and of days that need no merge."`
	queriesFlags
	sessionFlags
}

// summaryMemory is how much memory the process may use to summarise days, unless memory is set. It is about
// what merging them takes.
const summaryMemory = "600MB"

func (c *compactCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	bar := a.newProgress()
	options := compact.Options{Now: a.now(), Clock: a.sweepTime(dir), Force: c.Force, Logger: a.log, Progress: bar}
	if c.given() {
		if options.Window, err = c.window(a.now(), window.MaxLength); err != nil {
			return err
		}
	}
	summary, err := compact.Run(ctx, dir, options)
	bar.end()
	if err != nil {
		return err
	}
	message := compactMessage(summary)
	stored, err := c.storeSummaries(ctx, a, dir, options)
	if err != nil {
		return err
	}
	message += storedMessage(stored)
	a.say("%s", message)
	if summary.NotAtomic {
		a.say("this file system cannot exchange two directories, or has no hard links: a reader may have seen fewer rows for an instant, but none twice")
	}
	a.reportToParent(schedule.Report{Rows: summary.Rows, Bytes: summary.Bytes, Message: message})
	if err := a.notMerged(summary.Broken); err != nil {
		return err
	}
	if summary.Conflicts > 0 {
		return withHint(partial("%s in the merged files", wording.Count(summary.Conflicts, "conflict")),
			"tapedeck verify names them: an id had two contents, one of which is in the table conflicts now")
	}
	return nil
}

// storeSummaries stores the summaries of the days that are over. What fails is a warning: whoever needs it
// computes it.
func (c *compactCmd) storeSummaries(ctx context.Context, a *app, dir *tape.Dir, options compact.Options) (analytics.Written, error) {
	summaries, problems := analytics.Load(c.SQLDir, analytics.Summary)
	bar := a.newProgress()
	written, err := analytics.StoreSummaries(ctx, dir, analytics.Options{
		From: options.Window.Start, To: options.Window.End, Summaries: summaries, Threads: int(c.Threads),
		MemoryLimit: cmp.Or(string(c.Memory), summaryMemory), Progress: bar, Logger: a.log,
	}, options.Clock)
	bar.end()
	if ctx.Err() != nil {
		return written, ctx.Err()
	}
	if err != nil {
		problems = append(problems, err)
	}
	for _, problem := range problems {
		a.log.Warn("summaries of days are not stored; whoever needs them computes them", "error", problem.Error())
	}
	return written, nil
}

// notMerged prints the files that were left as they are. If there are any, it returns an error.
func (a *app) notMerged(broken []tape.BrokenSegment) error {
	var others []tape.BrokenSegment
	for _, b := range broken {
		var disagreement *tape.DisagreementError
		if errors.As(b.Err, &disagreement) {
			a.say("%s is left as it is: %v", b.Path, disagreement)
		} else {
			others = append(others, b)
		}
	}
	for _, line := range tape.BrokenLines(others) {
		a.say("%s", line)
	}
	if len(broken) == 0 {
		return nil
	}
	_, hint := tape.BrokenReason(broken)
	return withHint(partial("%s could not be merged", wording.Count(len(broken), "file")), hint)
}

// storedMessage is the end of the line that says what compact did.
func storedMessage(written analytics.Written) (message string) {
	if written.Days > 0 {
		message = "; stored the summaries of " + wording.Count(written.Days, "day")
	}
	if written.Swept > 0 {
		message += "; deleted " + wording.Count(written.Swept, "old summary")
	}
	return message
}

// compactMessage says in one line what a compaction did.
func compactMessage(s compact.Summary) string {
	message := "nothing to merge"
	if s.Before > 0 {
		message = fmt.Sprintf("merged %s into %s: %s of %s, %s", wording.Count(s.Before, "file"), wording.Comma(s.After),
			wording.Count(s.Rows, "trade"), wording.Count(len(s.Dates), "day"), humanize.Bytes(uint64(s.Bytes)))
	}
	if s.Conflicts > 0 {
		message += "; " + wording.Count(s.Conflicts, "conflict")
	}
	if s.Records > 0 {
		message += fmt.Sprintf("; merged %s of alerts and runs", wording.Count(s.Records, "file"))
	}
	if s.Swept > 0 {
		message += fmt.Sprintf("; deleted %s of dead writers", wording.Count(s.Swept, "file"))
	}
	return message
}
