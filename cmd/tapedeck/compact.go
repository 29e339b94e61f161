package main

import (
	"context"
	"fmt"
	"time"

	"tapedeck/jobs/compact"
	"tapedeck/jobs/schedule"
)

type compactCmd struct {
	windowFlags
	Force bool `help:"Merge every day's files into as few as there can be, also the hour under way and days that would be left as they are."`
}

func (*compactCmd) manual() manual {
	return manual{
		about: `Merges the many small files that a tape is written in into few: those of an hour once it is over, those of a day once it is over, sorted by symbol and
id, 16 million rows a file at most. It may run while the stream, a backfill and readers go on: whoever lists the files of a day sees those
from before or those from after, and each row once. A query that had listed the old files and opens them later gets an error and can be run
again; tapedeck's own commands do so by themselves. It also joins the files of alerts and runs, one a day, and deletes what
writers that died left behind. Without a window it looks at every day.`,
		examples: []string{"tapedeck compact", "tapedeck compact --since 2d", "tapedeck compact --from 2026-01-15 --to 2026-01-16 --force"},
		exits: []string{
			"0  done, whether there was anything to merge or not",
			"1  failed; the tape is as it was, but for days that were done before",
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
	options := compact.Options{Now: a.now(), Clock: time.Now(), Force: c.Force, Logger: a.log, Progress: func(done, of int, date string) {
		if done == 0 {
			bar.Begin("compact", int64(of))
		}
		bar.Set("days", int64(done))
	}}
	if c.given() {
		window, err := c.window(a.now(), maxLength)
		if err != nil {
			return err
		}
		options.From, options.To = window.Start, window.End
	}
	summary, err := compact.Run(ctx, dir, options)
	bar.end()
	if err != nil {
		return err
	}
	said := "nothing to merge"
	if summary.Before > 0 {
		said = fmt.Sprintf("%s files became %s: %s rows of %s, %s",
			grouped(int64(summary.Before)), grouped(int64(summary.After)), grouped(summary.Rows), counted(len(summary.Dates), "day"), byteText(summary.Bytes))
	}
	if summary.Records > 0 {
		said += fmt.Sprintf("; %s files of alerts and runs joined", grouped(int64(summary.Records)))
	}
	if summary.Swept > 0 {
		said += fmt.Sprintf("; %s files of dead writers deleted", grouped(int64(summary.Swept)))
	}
	a.say("%s", said)
	if summary.NotAtomic {
		a.say("this file system cannot exchange two directories: a reader may have seen fewer rows for an instant, and none twice")
	}
	a.reportToParent(schedule.Report{Rows: summary.Rows, Bytes: summary.Bytes, Message: said})
	for _, broken := range summary.Broken {
		a.say("%s", broken.Error())
	}
	if n := len(summary.Broken); n > 0 {
		return withHint(partial("%s could not be merged", counted(n, "file")), "move a file that cannot be read out of the data directory; tapedeck backfill then fetches what it held")
	}
	return nil
}

// counted is a number with its noun: 1 day, 2 days.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return grouped(int64(n)) + " " + noun + "s"
}

// byteText is a size for people: 12.3 MB.
func byteText(n int64) string {
	size, unit := float64(n), 0
	units := [...]string{"bytes", "kB", "MB", "GB", "TB"}
	for size >= 1000 && unit < len(units)-1 {
		size /= 1000
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", size, units[unit])
}
