package detect

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"tapedeck/internal/idset"
	"tapedeck/internal/tape"
)

var testOrigin = tape.Origin{Source: tape.FromFile}

func TestRunFindsInjectedEventsOnly(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := runDetect(t, dir, Options{Now: begin.Add(length + time.Hour), RunID: "run-1"})
	var want, got []string
	for _, e := range events {
		if e.detector == masked {
			continue
		}
		want = append(want, fmt.Sprintf("%s %s %s", e.detector, e.symbol, begin.Add(e.at).Format("02 15:04")))
	}
	for _, a := range summary.Alerts {
		// the minute that ends at At or contains it
		got = append(got, fmt.Sprintf("%s %s %s", a.Detector, a.Symbol, time.UnixMicro(a.At-1).UTC().Format("02 15:04")))
		if a.RunID != "run-1" || a.FoundAt != begin.Add(length+time.Hour).UnixMicro() {
			t.Errorf("alert with run %q, found at %d", a.RunID, a.FoundAt)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("alerts (-want +got):\n%s", diff)
	}
	for _, line := range describe(summary.Alerts) {
		t.Log(line)
	}
	if summary.Published.Rows != int64(len(got)) || len(summary.New) != len(got) || len(summary.Waiting) != 0 || summary.Symbols != 6 {
		t.Errorf("summary: %d published, %d new, %d waiting, %d symbols", summary.Published.Rows, len(summary.New), len(summary.Waiting), summary.Symbols)
	}
	t.Run("a second run finds nothing new", func(t *testing.T) {
		again := runDetect(t, dir, Options{Now: begin.Add(length + 2*time.Hour)})
		if len(again.Alerts) != 0 || !again.Judged.IsEmpty() {
			t.Errorf("judged %v, %d alerts", again.Judged, len(again.Alerts))
		}
	})
	t.Run("a run over a window adds nothing", func(t *testing.T) {
		again := runDetect(t, dir, Options{From: begin, To: begin.Add(length), Now: begin.Add(length + 2*time.Hour)})
		if len(again.New) != 0 || again.Published.Rows != 0 {
			t.Errorf("%d new, %d published", len(again.New), again.Published.Rows)
		}
		if diff := cmp.Diff(describe(summary.Alerts), describe(again.Alerts)); diff != "" {
			t.Errorf("alerts (-first +again):\n%s", diff)
		}
	})
}

// TestAlertsDoNotDependOnRuns checks that many runs, over a growing tape or over given windows, raise the
// alerts of one run.
func TestAlertsDoNotDependOnRuns(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector: make test-all")
	}
	rows := smallMarket(2)
	whole := newTape(t, rows)
	runDetect(t, whole, Options{Detectors: allDetectors(t), Now: begin.Add(length + time.Hour)})
	want := alertsOnTape(t, whole)
	if len(want) < len(events)-1 {
		t.Fatalf("only %d alerts to compare", len(want))
	}
	for name, grown := range map[string]struct {
		seed   uint64
		errors []time.Duration // by which the clock is wrong
	}{
		"the tape grows":                      {2, []time.Duration{0}},
		"the tape grows and the clock is set": {5, []time.Duration{0, time.Hour, -time.Hour, 24 * time.Hour, -24 * time.Hour}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTape(t)
			random := rand.New(rand.NewPCG(grown.seed, 9))
			runs := 0
			for from := time.Duration(0); from < length; {
				to := min(length, from+time.Duration(random.Int64N(int64(150*time.Minute))))
				if from == 0 {
					to = 19*time.Hour + 55*time.Minute
				}
				publish(t, dir, between(rows, from, to))
				wrong := grown.errors[random.IntN(len(grown.errors))]
				runDetect(t, dir, Options{Detectors: allDetectors(t), Now: begin.Add(to + wrong)})
				from, runs = to, runs+1
			}
			runDetect(t, dir, Options{Detectors: allDetectors(t), Now: begin.Add(length + time.Hour)})
			if diff := cmp.Diff(want, alertsOnTape(t, dir)); diff != "" {
				t.Errorf("%d runs (-whole +split):\n%s", runs, diff)
			}
		})
	}
	t.Run("given windows", func(t *testing.T) {
		dir := newTape(t, rows)
		// Cut through the middle of every event, and minute by minute around one.
		cuts := []time.Duration{0}
		for _, e := range events {
			cuts = append(cuts, e.at+time.Minute)
		}
		for i := range 6 {
			cuts = append(cuts, 20*time.Hour+time.Duration(15+i)*time.Minute)
		}
		cuts = append(cuts, length)
		slices.Sort(cuts)
		for i := range cuts[1:] {
			runDetect(t, dir, Options{Detectors: allDetectors(t), From: begin.Add(cuts[i]), To: begin.Add(cuts[i+1]), Now: begin.Add(length + time.Hour)})
		}
		if diff := cmp.Diff(want, alertsOnTape(t, dir)); diff != "" {
			t.Errorf("alerts (-whole +split):\n%s", diff)
		}
	})
}

// TestNoLookAhead checks for several instants that a run over the tape up to that instant raises the alerts
// that a run over the whole tape raises up to then.
func TestNoLookAhead(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long with the race detector: make test-all")
	}
	rows := smallMarket(3)
	whole := newTape(t, rows)
	all := runDetect(t, whole, Options{Detectors: allDetectors(t), Now: begin.Add(length + time.Hour), DryRun: true}).Alerts
	if len(all) < len(events)-1 {
		t.Fatalf("only %d alerts to compare", len(all))
	}
	for _, e := range events {
		for _, after := range []time.Duration{time.Minute, 4 * time.Minute} {
			cut := e.at + after
			dir := newTape(t, between(rows, 0, cut))
			got := runDetect(t, dir, Options{Detectors: allDetectors(t), From: begin.Add(cut - time.Hour), To: begin.Add(cut), Now: begin.Add(cut + time.Hour), DryRun: true}).Alerts
			var want []tape.Alert
			for _, alert := range all {
				if at := time.UnixMicro(alert.At); at.After(begin.Add(cut-time.Hour)) && !at.After(begin.Add(cut)) {
					want = append(want, alert)
				}
			}
			if diff := cmp.Diff(describe(want), describe(got)); diff != "" {
				t.Errorf("cut at %v (-whole +cut):\n%s", begin.Add(cut), diff)
			}
		}
	}
}

func TestSymbolWaitsForMissingIDs(t *testing.T) {
	rows := smallMarket(4)
	want := func() []string {
		dir := newTape(t, rows)
		runDetect(t, dir, Options{Now: begin.Add(length + time.Hour)})
		return alertsOnTape(t, dir)
	}()
	// Trades around the first pump are missing, as after a disconnected stream.
	missing := between(map[string][]tape.Trade{"AGAINBTC": rows["AGAINBTC"]}, 20*time.Hour+10*time.Minute, 20*time.Hour+24*time.Minute)["AGAINBTC"]
	left := between(rows, 0, length)
	left["AGAINBTC"] = slices.DeleteFunc(left["AGAINBTC"], func(trade tape.Trade) bool {
		return trade.ID >= missing[0].ID && trade.ID <= missing[len(missing)-1].ID
	})
	dir := newTape(t, left)
	now := begin.Add(length + time.Hour)
	summary := runDetect(t, dir, Options{Now: now})
	if len(summary.Waiting) != 1 || summary.Waiting[0].Symbol != "AGAINBTC" || summary.Waiting[0].Gap.First != missing[0].ID ||
		summary.Waiting[0].Since.After(begin.Add(20*time.Hour+10*time.Minute)) {
		t.Fatalf("waiting: %+v", summary.Waiting)
	}
	first := copyOf(t, dir)
	others := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return strings.Contains(line, "AGAINBTC") })
	if diff := cmp.Diff(others, alertsOnTape(t, dir)); diff != "" {
		t.Errorf("before backfill (-want +got):\n%s", diff)
	}
	again := runDetect(t, dir, Options{Now: now.Add(time.Minute)})
	if len(again.Waiting) != 1 || again.Symbols != 0 {
		t.Errorf("a second run judged %d symbols, %d wait", again.Symbols, len(again.Waiting))
	}
	t.Run("until they arrive", func(t *testing.T) {
		publish(t, dir, map[string][]tape.Trade{"AGAINBTC": missing})
		if after := runDetect(t, dir, Options{Now: now.Add(2 * time.Minute)}); len(after.Waiting) != 0 {
			t.Errorf("waiting: %+v", after.Waiting)
		}
		if diff := cmp.Diff(want, alertsOnTape(t, dir)); diff != "" {
			t.Errorf("after backfill (-want +got):\n%s", diff)
		}
	})
	ids := idset.Range{First: missing[0].ID, Last: missing[len(missing)-1].ID}
	for name, record := range map[string]func(*tape.Dir) error{
		"until the exchange is known to lack them": func(dir *tape.Dir) error {
			return dir.RecordAbsent("AGAINBTC", idset.Set{ids}, now)
		},
		"until they are dropped on purpose": func(dir *tape.Dir) error {
			return dir.RecordDropped("AGAINBTC", tape.IDRun{
				Range: ids, FirstAt: missing[0].TradedAt, LastAt: missing[len(missing)-1].TradedAt,
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := copyOf(t, first)
			if err := record(dir); err != nil {
				t.Fatal(err)
			}
			if summary := runDetect(t, dir, Options{Now: now.Add(time.Minute)}); len(summary.Waiting) != 0 {
				t.Errorf("waiting: %+v", summary.Waiting)
			}
			// The pump in the gap cannot be found, but the later one is.
			pumps := slices.DeleteFunc(alertsOnTape(t, dir), func(line string) bool { return !strings.Contains(line, "AGAINBTC") })
			if len(pumps) != 1 || !strings.HasPrefix(pumps[0], "15 21:03") {
				t.Errorf("pumps: %q", pumps)
			}
		})
	}
}

// TestLateTradesAreJudged publishes the trades of one symbol after those of the others were judged, as a
// backfill that goes symbol by symbol does.
func TestLateTradesAreJudged(t *testing.T) {
	rows := smallMarket(5)
	whole := newTape(t, rows)
	runDetect(t, whole, Options{Now: begin.Add(length + time.Hour)})
	late := func(from, to time.Duration) map[string][]tape.Trade {
		return between(map[string][]tape.Trade{"PUMPBTC": rows["PUMPBTC"]}, from, to)
	}
	first := between(rows, 0, length)
	first["PUMPBTC"] = late(0, 20*time.Hour+17*time.Minute+20*time.Second)["PUMPBTC"]
	dir := newTape(t, first)
	runDetect(t, dir, Options{Now: begin.Add(length + time.Hour)})
	publish(t, dir, late(20*time.Hour+17*time.Minute+20*time.Second, length))
	runDetect(t, dir, Options{Now: begin.Add(length + 2*time.Hour)})
	// The minute in which the trades of the symbol ended was judged as it was then, so its score may differ.
	if diff := cmp.Diff(names(alertsOnTape(t, whole)), names(alertsOnTape(t, dir))); diff != "" {
		t.Errorf("alerts (-complete +late):\n%s", diff)
	}
}

// TestEarlierHistoryIsJudged adds history before what was judged, without which there was no baseline.
func TestEarlierHistoryIsJudged(t *testing.T) {
	rows := smallMarket(6)
	whole := newTape(t, rows)
	runDetect(t, whole, Options{Now: begin.Add(length + time.Hour)})
	dir := newTape(t, between(rows, 20*time.Hour, length))
	if summary := runDetect(t, dir, Options{Now: begin.Add(length)}); len(summary.Alerts) != 0 {
		t.Fatalf("judged without history: %q", describe(summary.Alerts))
	}
	publish(t, dir, between(rows, 0, 20*time.Hour))
	runDetect(t, dir, Options{Now: begin.Add(length + time.Hour)})
	if diff := cmp.Diff(alertsOnTape(t, whole), alertsOnTape(t, dir)); diff != "" {
		t.Errorf("alerts (-complete +later history):\n%s", diff)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	dir := newTape(t, smallMarket(1))
	summary := runDetect(t, dir, Options{Now: begin.Add(length + time.Hour), DryRun: true})
	if len(summary.New) != len(events)-1 || summary.Published.Rows != 0 || len(alertsOnTape(t, dir)) != 0 {
		t.Errorf("%d new, %d published", len(summary.New), summary.Published.Rows)
	}
	if _, err := os.Stat(dir.State().Path(progressFile)); !os.IsNotExist(err) {
		t.Errorf("state file: %v", err)
	}
}

func TestEmptyTape(t *testing.T) {
	summary := runDetect(t, newTape(t), Options{Now: begin})
	if len(summary.Alerts) != 0 || summary.Symbols != 0 || len(summary.Detectors) != 3 {
		t.Errorf("%+v", summary)
	}
}
