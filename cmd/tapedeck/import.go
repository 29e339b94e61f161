package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/strictyaml"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/internal/wording"
	"tapedeck/jobs/importer"
	"tapedeck/jobs/schedule"
)

type importCmd struct {
	Files   []string    `arg:"" name:"file" placeholder:"FILE" help:"Zips and CSVs in the form of data.binance.vision, or Parquet files with the tape's columns."`
	Symbol  symbol.Name `placeholder:"SYMBOL" help:"The symbol of the CSVs and zips. The default is in each file's name, for example BTCUSDT-aggTrades-2024-08-08.zip."`
	Columns columnMap   `placeholder:"NAME=COLUMN" help:"Where other files have the tape's columns: id=trade_id,price=px. A number counts columns from 1; what is not listed has the tape's name."`
	feedFlags
}

func (c *importCmd) Run(ctx context.Context, a *app) error {
	options := importer.Options{Symbol: c.Symbol, Columns: c.Columns, Now: a.now(), Run: a.runID("import"), Logger: a.log}
	if err := c.check(); err != nil {
		return err
	}
	options.Latest = a.latest().Add(tape.ClockSkew)
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
	if total.Conflicts > 0 {
		text += fmt.Sprintf(", %s in conflict with the tape", wording.Comma(total.Conflicts))
	}
	if len(summary.Files) > 1 {
		text += ", in " + wording.Count(len(summary.Files)-len(problems), "file")
		a.say("all: %s", text)
	}
	a.sayConflicts(total.Conflicts, total.ConflictRows[:min(len(total.ConflictRows), 5)])
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
	case total.Unreadable > 0:
		return partial("%s were not compared with the tape: run tapedeck verify, which names the file that cannot be read",
			wording.Count(total.Unreadable, "trade"))
	}
	return foundConflicts(total.Conflicts)
}

// check returns an error for columns that cannot be.
func (c *importCmd) check() error {
	for _, name := range slices.Sorted(maps.Keys(c.Columns)) {
		if !slices.Contains(binance.ColumnNames(), name) {
			return misuse("--columns: the tape has no column %q%s; write id=trade_id with the tape's name first", name,
				strictyaml.DidYouMean(name, binance.ColumnNames()))
		}
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
	var future *importer.FutureError
	var columns *binance.ColumnsError
	switch {
	case errors.As(err, &future):
		return withHint(err, "if the file is right, set this machine's clock: it is "+future.Latest.Add(-tape.ClockSkew).Format(time.DateTime)+" UTC here")
	case errors.As(err, &feed):
		return withHint(err,
			"use --data-dir for another data directory; import creates one with that feed if there is none")
	case errors.As(err, &columns):
		return withHint(err, "--columns id=trade_id,price=px,qty=size,traded_at=time,is_buyer_maker=maker names the file's columns; a number from 1 will do too")
	case errors.Is(err, importer.ErrFuturesTrades):
		return withHint(err, "if its rows are spot trades all the same, name the columns: "+
			"--columns id=1,price=2,qty=3,traded_at=5,is_buyer_maker=6")
	case errors.Is(err, importer.ErrFutures):
		return withHint(err, "if its rows are spot trades all the same, name the columns: "+
			"--columns id=1,price=2,qty=3,first_trade_id=4,last_trade_id=5,traded_at=6,is_buyer_maker=7")
	case errors.Is(err, importer.ErrNoSymbol), errors.Is(err, importer.ErrTwoSymbols):
		return withHint(err, "--symbol BTCUSDT")
	}
	return err
}
