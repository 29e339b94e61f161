package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/importer"
	"tapedeck/jobs/schedule"
)

type importCmd struct {
	Files  []string `arg:"" name:"file" placeholder:"FILE" help:"Zips and CSVs in the form of data.binance.vision, or Parquet files with the tape's columns."`
	Symbol string   `placeholder:"SYMBOL" help:"The symbol of the CSVs and zips. The default is in each file's name, for example BTCUSDT-aggTrades-2024-08-08.zip."`
	feedFlags
}

func (c *importCmd) Run(ctx context.Context, a *app) error {
	options := importer.Options{Symbol: c.Symbol, Run: a.runID("import"), Logger: a.log}
	if a.givenAsFlag("feed") { // the configuration says what to record, not what a file has
		options.Feed = tape.Feed(c.Feed)
	}
	dir, err := c.open(a, options)
	if err != nil {
		return c.hint(err)
	}
	bar := a.newProgress()
	bar.bytes = true
	options.Progress = bar
	summary, err := importer.Run(ctx, dir, c.Files, options)
	bar.end()
	total := summary.Total()
	problems := summary.Problems()
	text := fmt.Sprintf("%s, %s of them new", wording.Count(total.Rows, "trade"), wording.Comma(total.Published))
	if len(summary.Files) > 1 {
		text += ", in " + wording.Count(len(summary.Files)-len(problems), "file")
		a.say("all: %s", text)
	}
	a.reportToParent(schedule.Report{Rows: total.Published, Bytes: total.Bytes, Message: text})
	switch {
	case err != nil:
		return err
	case len(summary.Files) == 0:
		return misuse("a .CHECKSUM file has no trades; name the file that it belongs to")
	case len(problems) == len(summary.Files):
		return c.hint(problems[0].Problem)
	case len(problems) > 0:
		return partial("%d of %d files could not be imported", len(problems), len(summary.Files))
	}
	return nil
}

// open opens the tape. If there is none, it creates one with the feed of the first file, which must
// be readable.
func (c *importCmd) open(a *app, options importer.Options) (*tape.Dir, error) {
	dir, err := tape.Open(a.dataDir)
	if !errors.Is(err, tape.ErrNoTape) {
		return dir, err
	}
	for _, file := range c.Files {
		if importer.IsChecksum(file) {
			continue
		}
		feed, err := importer.FeedOf(file, options)
		if err != nil {
			return nil, err
		}
		return a.createTape(cmp.Or(feedName(feed), c.Feed))
	}
	return a.createTape(c.Feed)
}

// hint adds the flag that helps to an error.
func (c *importCmd) hint(err error) error {
	var feed *tape.FeedError
	switch {
	case errors.As(err, &feed):
		return withHint(err,
			"use --data-dir for another data directory; import creates one with that feed if there is none")
	case errors.Is(err, importer.ErrNoSymbol):
		return withHint(err, "--symbol BTCUSDT")
	}
	return err
}
