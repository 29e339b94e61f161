package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"tapedeck/internal/tape"
	"tapedeck/jobs/importer"
	"tapedeck/jobs/schedule"
)

type importCmd struct {
	Files  []string `arg:"" name:"file" placeholder:"FILE" help:"Zips and CSVs in the form of data.binance.vision, or Parquet with the tape's own columns."`
	Symbol string   `placeholder:"SYMBOL" help:"Whose trades the CSVs hold. The default is what each file's name says, as in BTCUSDT-aggTrades-2024-08-08.zip."`
	feedFlags
}

func (*importCmd) manual() manual {
	return manual{
		about: `Puts trades on the tape from files that you already have: daily and monthly zips of trades or aggTrades from data.binance.vision, the CSVs in them, or
Parquet with the columns symbol, id, price, qty, first_trade_id, last_trade_id, traded_at and is_buyer_maker. A file is taken whole or not
at all. What is on the tape already is left out, so that importing again adds nothing. A .CHECKSUM beside a file is held against it. Headers,
milliseconds and microseconds, and rows out of order are understood. Makes the data directory if there is none, with the feed that the first
file holds.`,
		examples: []string{
			"tapedeck import BTCUSDT-aggTrades-2024-08-08.zip",
			"tapedeck import --symbol BTCUSDT rows.csv",
			"tapedeck import --data-dir other ../data/trades/*/*.parquet",
		},
		exits: []string{
			"0  done: each file's trades are on the tape",
			"1  failed; no file could be taken",
			"3  done, but some of the files could not be taken; they are named",
		},
	}
}

func (c *importCmd) Run(ctx context.Context, a *app) error {
	options := importer.Options{Symbol: c.Symbol, Run: a.runID("import"), Logger: a.log}
	if a.typed("feed") { // the configuration's is for what is recorded, and does not say what a file holds
		options.Feed = tape.Feed(c.Feed)
	}
	dir, err := c.open(a, options)
	if err != nil {
		return c.hinted(err)
	}
	bar := a.newProgress()
	bar.bytes = true
	options.Progress = &importProgress{bar, len(c.Files) > 1}
	summary, err := importer.Run(ctx, dir, c.Files, options)
	bar.end()
	total := summary.Total()
	problems := summary.Problems()
	said := fmt.Sprintf("%s, %s of them new", counted(int(total.Rows), "trade"), grouped(total.Published))
	if len(summary.Files) > 1 {
		said += fmt.Sprintf(", in %s", counted(len(summary.Files)-len(problems), "file"))
		a.say("all: %s", said)
	}
	a.reportToParent(schedule.Report{Rows: total.Published, Bytes: total.Bytes, Message: said})
	switch {
	case err != nil:
		return err
	case len(summary.Files) == 0:
		return misuse("a .CHECKSUM holds no trades; name the file that it belongs to")
	case len(problems) == len(summary.Files):
		return c.hinted(problems[0].Problem)
	case len(problems) > 0:
		return partial("%d of %d files could not be taken", len(problems), len(summary.Files))
	}
	return nil
}

// open opens the tape, or makes one of the feed that the first file holds: before anything is made that file must be one.
func (c *importCmd) open(a *app, options importer.Options) (*tape.Dir, error) {
	dir, err := tape.Open(a.dataDir)
	if !errors.Is(err, tape.ErrNoTape) {
		return dir, err
	}
	for _, file := range c.Files {
		if strings.HasSuffix(file, ".CHECKSUM") {
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

// hinted says which flag helps.
func (c *importCmd) hinted(err error) error {
	var feed *tape.FeedError
	switch {
	case errors.As(err, &feed):
		return withHint(err, "--data-dir names another data directory; import makes one of that feed if there is none")
	case c.Symbol == "" && strings.Contains(err.Error(), "name the symbol"):
		return withHint(err, "--symbol BTCUSDT")
	}
	return err
}

// importProgress shows an import under way.
type importProgress struct {
	bar     *progress
	several bool
}

func (p *importProgress) Started(path string, index, of int, bytes int64) {
	name := filepath.Base(path)
	if of > 1 {
		name = fmt.Sprintf("%s (%d of %d)", name, index+1, of)
	}
	p.bar.begin(name, bytes)
}

func (p *importProgress) Advanced(path string, bytes, of int64) { p.bar.set(path, bytes) }

func (p *importProgress) Finished(file importer.FileSummary) {
	p.bar.end()
	if file.Problem != nil {
		if p.several { // of one alone the command's own error tells
			p.bar.line("%v", file.Problem)
		}
		return
	}
	text := fmt.Sprintf("%s: %s of %s, %s of them new", file.Path, counted(int(file.Rows), "trade"), symbolsText(file.Symbols), grouped(file.Published))
	if file.Verified {
		text += "; its checksum fits"
	}
	if file.Missing > 0 {
		text += fmt.Sprintf("; %s between its first and its last are not in it", counted(int(file.Missing), "id"))
	}
	if file.Repeated > 0 {
		text += fmt.Sprintf("; %s twice", counted(int(file.Repeated), "row"))
	}
	if file.Voided > 0 {
		text += fmt.Sprintf("; %s voided by the exchange", counted(int(file.Voided), "row"))
	}
	p.bar.line("%s", text)
}

// symbolsText names some symbols or counts many.
func symbolsText(symbols []string) string {
	if len(symbols) > 3 {
		return counted(len(symbols), "symbol")
	}
	return strings.Join(symbols, ", ")
}
