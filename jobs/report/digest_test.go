package report_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/jobs/report"
)

// TestDigestListsChangesAfterHealing saves the digest of a report, heals a gap and compares a new
// report with it.
func TestDigestListsChangesAfterHealing(t *testing.T) {
	lost := func(trade tape.Trade) bool {
		return trade.Symbol == "BTCUSDT" && (trade.ID >= 3100 && trade.ID < 3110) || trade.Symbol == "DOGEBTC" && trade.ID >= 1083
	}
	dir := sampleTape(t, lost)
	first := build(t, dir, nil)
	if err := first.Digest().Save(dir); err != nil {
		t.Fatal(err)
	}
	kept, ok, err := report.LastDigest(dir, first.Window, nil)
	if err != nil || !ok {
		t.Fatalf("saved digest: %v, %v", ok, err)
	}
	if changes, err := kept.Changes(build(t, dir, nil)); err != nil || changes != nil {
		t.Fatalf("changes %v, want none (%v)", changes, err)
	}

	var healed []tape.Trade
	for _, trade := range sampleTrades(markets, nil) {
		if lost(trade) {
			healed = append(healed, trade)
		}
	}
	if _, err := dir.Publish(t.Context(), healed, tape.Origin{Source: tape.FromREST, Run: "heal"}); err != nil {
		t.Fatal(err)
	}
	late := tape.Alert{Detector: "pump_burst", Symbol: "DOGEBTC", At: sampleEnd.Add(-time.Minute).UnixMicro(), Score: 30, Severity: "high", Message: "rush", Extra: "{}"}
	if _, err := dir.PublishAlerts(t.Context(), []tape.Alert{late}); err != nil {
		t.Fatal(err)
	}
	changes, err := kept.Changes(build(t, dir, nil))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, change := range changes {
		lines = append(lines, change.String())
	}
	for _, want := range []string{
		"missing ids: 0, was 10",
		"BTCUSDT trades: 4,114, was 4,094",
		"BTCUSDT rows: 2,057, was 2,047",
		"DOGEBTC trades: 160, was 156",
		"DOGEBTC last traded at: 2026-01-15 12:57:00, was 2026-01-15 12:51:00",
		"incidents, new: 2026-01-15T12:59:00Z DOGEBTC pump_burst: rush",
		"hourly: 2 rows changed",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("changes lack %q", want)
		}
	}
	for _, line := range lines {
		if strings.HasPrefix(line, "ETHUSDT") || strings.HasPrefix(line, "runs") || strings.HasPrefix(line, "completeness") {
			t.Errorf("unexpected change %q", line)
		}
	}
	if t.Failed() {
		t.Log(strings.Join(lines, "\n"))
	}
}

func TestRemovedRowIsAChange(t *testing.T) {
	dir := sampleTape(t, nil)
	kept := build(t, dir, nil).Digest()
	now := build(t, dir, nil)
	overview := &now.Section("overview").Result
	overview.Rows = overview.Rows[1:]
	changes, err := kept.Changes(now)
	if err != nil || len(changes) != 1 || changes[0].String() != "overview, removed: BTCUSDT" {
		t.Errorf("changes %v, %v", changes, err)
	}
}

func TestDigestRefusesOtherReport(t *testing.T) {
	dir := sampleTape(t, nil)
	kept := build(t, dir, nil).Digest()
	for name, change := range map[string]func(*report.Options){
		"symbols": func(o *report.Options) { o.Symbols = []string{"BTCUSDT"} },
		"window":  func(o *report.Options) { o.Window.End = o.Window.End.Add(-time.Hour) },
	} {
		if changes, err := kept.Changes(build(t, dir, change)); !errors.Is(err, report.ErrOtherReport) {
			t.Errorf("other %s: changes %v, error %v", name, changes, err)
		}
	}
}

func TestDigestsAreSavedAndForgotten(t *testing.T) {
	dir := newTape(t, tape.AggTrade, sampleTrades(markets[:1], nil))
	window := func(hour int) window.Window {
		return window.Window{Start: sampleStart.Add(time.Duration(hour) * time.Hour), End: sampleStart.Add(time.Duration(hour+1) * time.Hour)}
	}
	for hour := range 3 {
		built := build(t, dir, func(o *report.Options) {
			o.Window.Start, o.Window.End, o.Sections = window(hour).Start, window(hour).End, []string{"overview"}
		})
		if err := built.Digest().Save(dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(dir.State().Path("report-damaged.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if after, err := report.Digests(dir, window(0).End); err != nil || len(after) != 2 || !after[0].Start.Equal(window(1).Start) {
		t.Errorf("digests after the first window: %v, %v", after, err)
	}
	if n, err := report.ForgetDigests(dir, window(2).End); err != nil || n != 2 {
		t.Errorf("%d forgotten, want 2 (%v)", n, err)
	}
	if _, ok, err := report.LastDigest(dir, window(0), nil); ok || err != nil {
		t.Errorf("a forgotten digest exists: %v, %v", ok, err)
	}
	if _, ok, err := report.LastDigest(dir, window(2), nil); !ok || err != nil {
		t.Errorf("a recent digest exists: %v, %v", ok, err)
	}
	if _, ok, _ := report.LastDigest(dir, window(2), []string{"BTCUSDT"}); ok {
		t.Error("a report of other symbols has the same digest")
	}
	if files, err := filepath.Glob(dir.State().Path("report-*")); err != nil || len(files) != 2 {
		t.Errorf("files %v, %v", files, err)
	}
}
