package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"

	"tapedeck/internal/binance"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
	"tapedeck/jobs/backfill"
	"tapedeck/jobs/schedule"
)

// feedName is the value of --feed: the feed of a new tape. An existing tape must have the same.
type feedName tape.Feed

func (f *feedName) UnmarshalText(text []byte) error {
	feed, err := tape.ParseFeed(string(text))
	*f = feedName(feed)
	return err
}

// feedFlags choose the feed of a new tape.
type feedFlags struct {
	Feed feedName `key:"feed" placeholder:"FEED" help:"Feed of a new tape: aggTrade (default) or trade. An existing tape keeps its own."`
}

// symbolFlags choose the symbols.
type symbolFlags struct {
	Symbols symbolList `key:"symbols" placeholder:"LIST" help:"Symbols or patterns, separated by commas: BTCUSDT,ETH*. A pattern can require a volume of the last 24 hours in quote asset: *USDT>1000000. The default is the symbols on the tape, or BTCUSDT,ETHUSDT if it is empty."`
}

// givenName is a symbol on the command line, in any letter case.
type givenName struct{ symbol.Name }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *givenName) UnmarshalText(text []byte) error {
	name, err := symbol.Parse(strings.TrimSpace(string(text)))
	n.Name = name.Upper()
	return err
}

// namesOf returns the texts of names.
func namesOf(given []givenName) (texts []string) {
	for _, name := range given {
		texts = append(texts, name.String())
	}
	return texts
}

// symbolList is a list of symbols and patterns. An error in it is one of the command line, before
// anything is created or asked for.
type symbolList []string

// Validate is kong's hook for values that are complete.
func (l symbolList) Validate() error {
	for _, word := range l {
		switch {
		case strings.TrimSpace(word) == "":
			return errors.New("a symbol between the commas is empty")
		case strings.ContainsFunc(word, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
			return fmt.Errorf("%s contains a space; write symbols as Binance spells them, with commas between them: BTCUSDT,ETHUSDT",
				symbol.Quote(word))
		}
	}
	_, err := binance.ParseSymbolList(l)
	return err
}

// imageVolume is the image's data directory. It is empty unless a volume is mounted.
const imageVolume = "/app/data"

// openTape opens the data directory for a command that needs an existing tape.
func (a *app) openTape() (*tape.Dir, error) {
	dir, err := tape.Open(a.dataDir)
	if !errors.Is(err, tape.ErrNoTape) {
		return dir, err
	}
	hint := "tapedeck stream, backfill, import and db-migrate create one; --data-dir names another directory"
	if absolute(a.dataDir) == imageVolume && a.place.container {
		hint = "mount the volume that has one: docker run -v NAME:/app/data …; stream, backfill, import and db-migrate create a tape"
	}
	return nil, withHint(fmt.Errorf("no tape at %q", a.dataDir), hint)
}

// createTape opens the data directory, or creates a tape there.
func (a *app) createTape(feed feedName) (*tape.Dir, error) {
	if _, err := tape.Open(a.dataDir); errors.Is(err, tape.ErrNoTape) {
		if path := absolute(a.dataDir); strings.ContainsAny(path, `*?[\`) {
			return nil, misuse("the data directory %q: DuckDB reads *, ?, [ and \\ as a pattern; choose another name", path)
		}
	}
	return tape.Create(a.dataDir, tape.Feed(feed), a.now())
}

// defaultSymbols returns the symbols to record if neither the user nor the tape names any.
func defaultSymbols() []symbol.Name {
	return []symbol.Name{symbol.Must("BTCUSDT"), symbol.Must("ETHUSDT")}
}

// chooseSymbols returns the requested symbols, or those on the tape, or the default.
func (a *app) chooseSymbols(ctx context.Context, dir *tape.Dir, requested symbolList) (binance.SymbolList, error) {
	if len(requested) > 0 {
		return binance.ParseSymbolList(requested)
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return binance.SymbolList{}, err
	}
	if recorded := index.Names(); len(recorded) > 0 {
		return binance.ListOf(recorded...), nil
	}
	return binance.ListOf(defaultSymbols()...), nil
}

// symbolCheckTimeout bounds how long recording waits for the exchange to check plain names, and
// boundedCheckTimeout how long if somebody waits for the end of the recording.
const symbolCheckTimeout, boundedCheckTimeout = 15 * time.Second, 4 * time.Second

// symbolSource returns a function that asks the exchange which symbols a list means. It waits
// checkFor for an answer about plain names. It must not be called concurrently.
func (a *app) symbolSource(
	dir *tape.Dir, list binance.SymbolList, url httpURL, checkFor time.Duration,
) func(context.Context) ([]symbol.Name, error) {
	var recorded []symbol.Name
	endpoints := backfill.Endpoints{RESTURL: cmp.Or(string(url), backfill.DefaultRESTURL), Logger: a.log}
	clients := backfill.Connect(dir, endpoints)
	return func(ctx context.Context) ([]symbol.Name, error) {
		defer clients.Close() // of its idle connections, the next call is minutes away
		options := binance.ResolveOptions{Recorded: recorded, UncheckedAfter: checkFor}
		found, _, err := clients.REST.Resolve(ctx, list, options)
		if err == nil {
			recorded = found
		}
		return found, err
	}
}

// runID returns the id of this run in the metadata of the files that it writes. If the scheduler
// started the run, it is the scheduler's.
func (a *app) runID(command string) string {
	if id := a.env[schedule.RunIDVariable]; id != "" {
		return id
	}
	return fmt.Sprintf("%s-%s-%s", command, a.started.Format("20060102T150405"), strings.ToLower(rand.Text()[:6]))
}
