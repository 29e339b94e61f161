package backfill

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"tapedeck/internal/idset"
	"tapedeck/internal/progress"
	"tapedeck/internal/tape"
)

// cancelAtStart cancels a run after it was planned and before it fetches anything.
type cancelAtStart struct {
	progress.None
	cancel context.CancelFunc
}

func (c cancelAtStart) Begin(string, int64) { c.cancel() }

// A run that was ended before it fetched anything of a symbol is remembered, until a later one has done it.
func TestWhatWasBegunIsRemembered(t *testing.T) {
	w := newWorld(t, tape.AggTrade, slices.Concat(market("BTCUSDT", 0, 100, now.Add(-time.Hour), now), market("ETHUSDT", 0, 100, now.Add(-time.Hour), now)))
	window := w.opt
	window.From, window.To, window.Symbols = now.Add(-time.Hour), now, []string{"BTCUSDT", "ETHUSDT"}
	ctx, cancel := context.WithCancel(t.Context())
	ended := window
	ended.Progress = cancelAtStart{cancel: cancel}
	if _, err := Run(ctx, w.dir, w.clients, ended); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if pending, err := Pending(w.dir); err != nil || !slices.Equal(pending, window.Symbols) {
		t.Errorf("begun: %v, %v", pending, err)
	}
	one := window
	one.Symbols = []string{"ETHUSDT"}
	if _, err := Run(t.Context(), w.dir, w.client(), one); err != nil {
		t.Fatal(err)
	}
	if pending, err := Pending(w.dir); err != nil || !slices.Equal(pending, []string{"BTCUSDT"}) {
		t.Errorf("begun: %v, %v", pending, err)
	}
	if _, err := Run(t.Context(), w.dir, w.client(), window); err != nil {
		t.Fatal(err)
	}
	if pending, err := Pending(w.dir); err != nil || len(pending) > 0 {
		t.Errorf("begun: %v, %v", pending, err)
	}
}

// What was begun and is no longer listed is in nobody's way.
func TestWhatWasBegunMayBeGone(t *testing.T) {
	w := newWorld(t, tape.AggTrade, market("BTCUSDT", 0, 100, now.Add(-time.Hour), now))
	if err := addPending(w.dir, "GONEUSDT"); err != nil {
		t.Fatal(err)
	}
	summary := w.mustRun(func(o *Options) {
		o.From, o.To, o.Symbols = now.Add(-time.Hour), now, []string{"BTCUSDT", "GONEUSDT"}
	})
	if total := summary.Total(); total.Fetched == 0 {
		t.Errorf("%+v", total)
	}
	if pending, err := Pending(w.dir); err != nil || len(pending) > 0 {
		t.Errorf("begun: %v, %v", pending, err)
	}
}

// A day that only the archive can tell of has no ids to count: what it takes is the looking.
func TestAPlanKnowsWhatItDoesNotKnow(t *testing.T) {
	day := DayPlan{Day: now.Truncate(24*time.Hour).AddDate(0, 0, -2), Missing: idset.Set{{First: 0, Last: 5_000_000_000}}}
	plan := Plan{PerMinute: 6000, Symbols: []SymbolPlan{{Symbol: "BTCUSDT", Days: []DayPlan{day}}}}
	if took := plan.Duration(); took != archiveFileSeconds*time.Second {
		t.Errorf("a file takes %v", took)
	}
}
