package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/tape"
	"tapedeck/jobs/backfill"
)

// feedName is --feed: the feed of a tape that is made, or must be the tape's own.
type feedName tape.Feed

func (f *feedName) UnmarshalText(text []byte) error {
	feed, err := tape.ParseFeed(string(text))
	if err != nil {
		return err
	}
	*f = feedName(feed)
	return nil
}

// feedFlags choose the feed when a tape is made.
type feedFlags struct {
	Feed feedName `key:"feed" placeholder:"FEED" help:"aggTrade or trade: what a new tape records; an existing one keeps its own. The default for a new tape is aggTrade."`
}

// symbolFlags choose the symbols.
type symbolFlags struct {
	Symbols []string `key:"symbols" placeholder:"LIST" help:"Symbols or patterns, separated by commas: BTCUSDT,ETH*. A pattern can ask for a volume of the last 24 hours in quote asset: *USDT>1000000. The default is what is on the tape, and BTCUSDT,ETHUSDT for an empty one."`
}

// imageVolume is where the image has its tape: nothing is there unless a volume is mounted.
const imageVolume = "/app/data"

// openTape opens the data directory for a command that has nothing to do without one.
func (a *app) openTape() (*tape.Dir, error) {
	dir, err := tape.Open(a.dataDir)
	if errors.Is(err, tape.ErrNoTape) {
		if abs, absErr := filepath.Abs(a.dataDir); absErr == nil && abs == imageVolume && inContainer() {
			return nil, withHint(fmt.Errorf("no tape at %q", a.dataDir),
				"mount the volume that has one, docker run -v NAME:/app/data …; the commands stream, backfill and import make one, and db-migrate an empty one")
		}
		return nil, withHint(fmt.Errorf("no tape at %q", a.dataDir),
			"tapedeck stream, backfill and import make one; tapedeck db-migrate makes an empty one; --data-dir names another place")
	}
	return dir, err
}

// createTape opens the data directory, or makes a tape there.
func (a *app) createTape(feed feedName) (*tape.Dir, error) {
	if _, err := tape.Open(a.dataDir); errors.Is(err, tape.ErrNoTape) {
		if path, err := filepath.Abs(a.dataDir); err == nil && strings.ContainsAny(path, "*?[") {
			return nil, misuse("the data directory %q: DuckDB takes *, ? and [ for a pattern, so that it could not be read; choose another name", path)
		}
	}
	return tape.Create(a.dataDir, tape.Feed(feed), a.now())
}

// defaultSymbols are recorded where neither the user nor the tape names any.
func defaultSymbols() []string { return []string{"BTCUSDT", "ETHUSDT"} }

// chooseSymbols is what to work on: what the user says, else what is on the tape, else the default.
func (a *app) chooseSymbols(ctx context.Context, dir *tape.Dir, given []string) ([]string, error) {
	if len(given) > 0 {
		return given, nil
	}
	index := dir.Index()
	if err := index.Refresh(ctx); err != nil {
		return nil, err
	}
	if recorded := index.Symbols(); len(recorded) > 0 {
		return recorded, nil
	}
	return defaultSymbols(), nil
}

// symbolCheck bounds how long recording waits for the exchange to check plain names.
const symbolCheck = 15 * time.Second

// symbolSource returns a function that asks the exchange which symbols the words mean. It must not be called
// concurrently.
func (a *app) symbolSource(dir *tape.Dir, words []string, place httpURL) func(context.Context) ([]string, error) {
	var recorded []string
	return func(ctx context.Context) ([]string, error) {
		list, err := binance.ParseSymbolList(words)
		if err != nil {
			return nil, err
		}
		clients := backfill.Connect(dir, backfill.Endpoints{RESTURL: cmp.Or(string(place), backfill.DefaultRESTURL), Logger: a.log})
		defer clients.Close()
		found, _, err := clients.REST.Resolve(ctx, list, binance.ResolveOptions{Recorded: recorded, UncheckedAfter: symbolCheck})
		if err == nil {
			recorded = found
		}
		return found, err
	}
}

// runID is the name of this run in the metadata of what it writes: the scheduler's, where it was started by one.
func (a *app) runID(command string) string {
	if id := a.env[runIDVariable]; id != "" {
		return id
	}
	return fmt.Sprintf("%s-%s-%s", command, a.started.Format("20060102T150405"), strings.ToLower(rand.Text()[:6]))
}
