package report_test

import (
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

// TestComparedWithTheWindowBefore halves a window whose record is whole: the second half is compared with the
// first, which is what a report of the first half says. Of a symbol with missing ids in the first half, only
// the second half is shown.
func TestComparedWithTheWindowBefore(t *testing.T) {
	dir := sampleTape(t, func(trade tape.Trade) bool { return trade.Symbol == "ETHUSDT" && trade.ID == 1200 })
	middle := sampleStart.Add(2 * time.Hour)
	only := func(sections ...string) func(*report.Options) {
		return func(opt *report.Options) { opt.Sections, opt.Window.Start = sections, middle }
	}
	section := build(t, dir, only("compared")).Section("compared")
	if section.Err != nil {
		t.Fatal(section.Err)
	}
	first := build(t, dir, func(opt *report.Options) {
		opt.Sections, opt.Window = []string{"overview"}, window.Window{Start: sampleStart, End: middle}
	}).Section("overview").Result
	now := build(t, dir, only("overview")).Section("overview").Result
	value := func(rows [][]any, columns []column, symbol, name string) any {
		row := slices.IndexFunc(rows, func(row []any) bool { return row[0] == symbol })
		return rows[row][slices.IndexFunc(columns, func(c column) bool { return c.Name == name })]
	}
	result := section.Result
	for _, symbol := range []string{"BTCUSDT", "DOGEBTC", chineseSymbol} {
		for name, other := range map[string]string{"trades": "trades", "trades_before": "trades", "quote_volume": "quote_volume",
			"quote_volume_before": "quote_volume", "change": "change", "change_before": "change"} {
			want := now
			if strings.HasSuffix(name, "_before") {
				want = first
			}
			if got, want := value(result.Rows, result.Columns, symbol, name), value(want.Rows, want.Columns, symbol, other); got != want {
				t.Errorf("%s of %s is %v, want %v", name, symbol, got, want)
			}
		}
	}
	if got := value(result.Rows, result.Columns, "ETHUSDT", "before"); got != "missing" {
		t.Errorf("before of ETHUSDT is %v, want missing", got)
	}
	for _, name := range []string{"trades_before", "trades_change", "quote_volume_before", "quote_volume_change", "change_before"} {
		if got := value(result.Rows, result.Columns, "ETHUSDT", name); got != nil {
			t.Errorf("%s of ETHUSDT is %v, want nothing", name, got)
		}
	}
}

// TestNothingIsComparedWithADamagedWindow damages a segment of the window before. Without a window before, the
// section is not shown unless it is asked for.
func TestNothingIsComparedWithADamagedWindow(t *testing.T) {
	early := sampleStart.Add(-24 * time.Hour)
	old := sampleTrades(markets[:1], nil)
	trades := sampleTrades(markets[:1], nil)
	for i := range old {
		trades[i].ID, old[i].TradedAt = trades[i].ID+int64(len(old)), old[i].TradedAt-24*time.Hour.Microseconds()
	}
	dir := newTape(t, tape.AggTrade, append(old, trades...))
	day := func(opt *report.Options) {
		opt.Window = window.Window{Start: sampleEnd.Add(-14 * time.Hour), End: sampleEnd}
	}
	if section := build(t, dir, day).Section("compared"); section == nil || section.Result.Rows[0][1] != "complete" {
		t.Fatalf("the section is %+v", section)
	}
	if section := build(t, dir, func(opt *report.Options) { opt.Window.Start = early.Add(-time.Hour) }).Section("compared"); section != nil {
		t.Errorf("nothing was recorded before, but there is %+v", section.Result)
	}
	paths, err := filepath.Glob(dir.Path() + "/trades/date=" + early.Format(time.DateOnly) + "/*.parquet")
	if err != nil || len(paths) != 1 {
		t.Fatal(paths, err)
	}
	if err := os.WriteFile(paths[0], []byte("PAR1 no segment PAR1"), 0o644); err != nil {
		t.Fatal(err)
	}
	section := build(t, dir, func(opt *report.Options) { day(opt); opt.Sections = []string{"compared"} }).Section("compared")
	if row := section.Result.Rows[0]; row[1] == "complete" || row[3] != nil {
		t.Errorf("a damaged window is compared: %v", row)
	}
}
