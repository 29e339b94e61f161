package main

import (
	"context"
	"fmt"
	"time"

	"github.com/dustin/go-humanize"

	"tapedeck/internal/window"
	"tapedeck/internal/wording"
	"tapedeck/jobs/compact"
	"tapedeck/jobs/schedule"
)

type compactCmd struct {
	windowFlags
	Force bool `help:"Merge every day's files into as few as possible, even those of the current hour and of days that need no merge."`
}

func (*compactCmd) manual() manual {
	return manual{
		about: `Merges the many small files of a tape into few: the files of an hour once it is over, and those of a day once it is over,
sorted by symbol and id, with at most 16 million rows each. It can run at the same time as the stream, a backfill and
readers: whoever lists the files of a day sees the old ones or the new ones, and every row once. A query that opens an
old file after it was replaced fails and can be run again; tapedeck's own commands do that by themselves. It also
merges the files of alerts and runs, and deletes what writers that died left behind. Without a window it compacts
every day.`,
		examples: []string{
			"tapedeck compact",
			"tapedeck compact --since 2d",
			"tapedeck compact --from 2026-01-15 --to 2026-01-16 --force",
		},
		exits: []string{
			"0  done, even if there was nothing to merge",
			"1  failed; days that were not merged yet are unchanged",
			"3  done, but a file cannot be read and was left as it is",
		},
	}
}

func (c *compactCmd) Run(ctx context.Context, a *app) error {
	dir, err := a.openTape()
	if err != nil {
		return err
	}
	bar := a.newProgress()
	options := compact.Options{Now: a.now(), Clock: time.Now(), Force: c.Force, Logger: a.log, Progress: bar}
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
	a.say("%s", message)
	if summary.NotAtomic {
		a.say("this file system cannot exchange two directories: a reader may have seen fewer rows for an instant, but none twice")
	}
	a.reportToParent(schedule.Report{Rows: summary.Rows, Bytes: summary.Bytes, Message: message})
	for _, broken := range summary.Broken {
		a.say("%s", broken.Error())
	}
	if n := len(summary.Broken); n > 0 {
		return withHint(partial("%s could not be merged", wording.Count(n, "file")),
			"move a file that cannot be read out of the data directory; tapedeck backfill then fetches its trades again")
	}
	return nil
}

// compactMessage says in one line what a compaction did.
func compactMessage(s compact.Summary) string {
	message := "nothing to merge"
	if s.Before > 0 {
		message = fmt.Sprintf("merged %s into %s: %s of %s, %s", wording.Count(s.Before, "file"), wording.Comma(s.After),
			wording.Count(s.Rows, "row"), wording.Count(len(s.Dates), "day"), humanize.Bytes(uint64(s.Bytes)))
	}
	if s.Records > 0 {
		message += fmt.Sprintf("; merged %s of alerts and runs", wording.Count(s.Records, "file"))
	}
	if s.Swept > 0 {
		message += fmt.Sprintf("; deleted %s of dead writers", wording.Count(s.Swept, "file"))
	}
	return message
}
