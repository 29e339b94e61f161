package backfill

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"tapedeck/internal/binance"
	"tapedeck/internal/idset"
	"tapedeck/internal/progress"
	"tapedeck/internal/symbol"
	"tapedeck/internal/tape"
)

// cancelAtStart cancels a run after it was planned and before it fetches anything.
type cancelAtStart struct {
	progress.None
	cancel context.CancelFunc
}

func (c cancelAtStart) Begin(string, int64) { c.cancel() }

// The symbols of a run that was cancelled before it fetched anything stay pending until a later run
// has fetched them.
func TestPendingSymbolsSurviveACancelledRun(t *testing.T) {
	h := newHarness(t, tape.AggTrade, slices.Concat(market("BTCUSDT", 0, 100, now.Add(-time.Hour), now), market("ETHUSDT", 0, 100, now.Add(-time.Hour), now)))
	opt := h.opt
	opt.Window.Start, opt.Window.End, opt.Symbols = now.Add(-time.Hour), now, symbolsOf("BTCUSDT", "ETHUSDT")
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := opt
	cancelled.Progress = cancelAtStart{cancel: cancel}
	if _, err := Run(ctx, h.dir, h.clients, cancelled); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if pending, err := pendingSymbols(h.dir); err != nil || !slices.Equal(symbol.Strings(pending), []string{"BTCUSDT", "ETHUSDT"}) {
		t.Errorf("pending: %v, %v", pending, err)
	}
	one := opt
	one.Symbols = symbolsOf("ETHUSDT")
	if _, err := Run(t.Context(), h.dir, h.client(), one); err != nil {
		t.Fatal(err)
	}
	if pending, err := pendingSymbols(h.dir); err != nil || !slices.Equal(symbol.Strings(pending), []string{"BTCUSDT"}) {
		t.Errorf("pending: %v, %v", pending, err)
	}
	if _, err := Run(t.Context(), h.dir, h.client(), opt); err != nil {
		t.Fatal(err)
	}
	if pending, err := pendingSymbols(h.dir); err != nil || len(pending) > 0 {
		t.Errorf("pending: %v, %v", pending, err)
	}
}

// A pending symbol that is no longer listed does not prevent others from being fetched.
func TestDelistedPendingSymbolIsDropped(t *testing.T) {
	h := newHarness(t, tape.AggTrade, market("BTCUSDT", 0, 100, now.Add(-time.Hour), now))
	if err := addPending(h.dir, symbol.Must("GONEUSDT")); err != nil {
		t.Fatal(err)
	}
	summary := h.mustBackfill(func(o *Options) {
		o.Window.Start, o.Window.End, o.Symbols = now.Add(-time.Hour), now, symbolsOf("BTCUSDT", "GONEUSDT")
	})
	if total := summary.Total(); total.Fetched == 0 {
		t.Errorf("%+v", total)
	}
	if pending, err := pendingSymbols(h.dir); err != nil || len(pending) > 0 {
		t.Errorf("pending: %v, %v", pending, err)
	}
}

// The ids of a day that REST does not reach back to are unknown, so only the request of its file
// counts.
func TestDurationOfADayWithUnknownIDs(t *testing.T) {
	day := DayPlan{Day: now.Truncate(24*time.Hour).AddDate(0, 0, -2), Missing: idset.Set{{First: 0, Last: 5_000_000_000}}}
	plan := Plan{PerMinute: 6000, Symbols: []SymbolPlan{{Symbol: symbol.Must("BTCUSDT"), Days: []DayPlan{day}}}}
	if took := plan.Duration(); took != archiveFileSeconds*time.Second {
		t.Errorf("one file takes %v", took)
	}
}

// symbolsOf returns the list that words on the command line mean.
func symbolsOf(words ...string) binance.SymbolList {
	list, err := binance.ParseSymbolList(words)
	if err != nil {
		panic(err)
	}
	return list
}
