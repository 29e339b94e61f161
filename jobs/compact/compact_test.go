package compact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"tapedeck/analytics/tape"
)

var day = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)

func newTape(t *testing.T) *tape.Dir {
	t.Helper()
	dir, err := tape.Create(filepath.Join(t.TempDir(), "data"), tape.AggTrade, day)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// record publishes n trades of two symbols from an id on, a second apart from at.
func record(t *testing.T, dir *tape.Dir, first, n int64, at time.Time) {
	t.Helper()
	var rows []tape.Trade
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		for i := range n {
			rows = append(rows, tape.Trade{Symbol: symbol, ID: first + i, Price: 1.5, Qty: 2, FirstTradeID: first + i, LastTradeID: first + i, TradedAt: at.Add(time.Duration(i) * time.Second).UnixMicro()})
		}
	}
	if _, err := dir.Publish(context.Background(), rows, tape.Origin{Source: tape.FromStream}); err != nil {
		t.Fatal(err)
	}
}

// segments gives how many segments a date has, and fails unless the tape holds the ids from 1 to last of both symbols, each once.
func segments(t *testing.T, dir *tape.Dir, date string, last int64) int {
	t.Helper()
	list, broken, err := dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	seen := map[string]bool{}
	n := 0
	for _, s := range list {
		if s.Date == date {
			n++
		}
		rows, err := dir.ReadTrades(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			key := fmt.Sprint(row.Symbol, row.ID)
			if seen[key] || row.ID < 1 || row.ID > last {
				t.Fatalf("%s stands twice or should not be there", key)
			}
			seen[key] = true
		}
	}
	if int64(len(seen)) != 2*last {
		t.Fatalf("%d rows, want %d", len(seen), 2*last)
	}
	return n
}

func run(t *testing.T, dir *tape.Dir, opt Options) Summary {
	t.Helper()
	out, err := Run(context.Background(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestHoursThenDays(t *testing.T) {
	dir := newTape(t)
	// A flush every ten minutes from 00:00 to 03:30.
	id := int64(1)
	for at := day; at.Before(day.Add(3*time.Hour + 30*time.Minute)); at = at.Add(10 * time.Minute) {
		record(t, dir, id, 100, at)
		id += 100
	}
	const date = "2026-01-15"
	if n := segments(t, dir, date, id-1); n != 21 {
		t.Fatal(n)
	}
	// Nothing is over.
	if out := run(t, dir, Options{Now: day.Add(30 * time.Minute)}); out.Before != 0 {
		t.Errorf("%+v", out)
	}
	// At 03:04 the hour from 02:00 is not over for sure: its last flush may be under way.
	if out := run(t, dir, Options{Now: day.Add(3*time.Hour + 4*time.Minute)}); out.Before != 12 || out.After != 2 {
		t.Errorf("%+v", out)
	}
	if out := run(t, dir, Options{Now: day.Add(3*time.Hour + 30*time.Minute)}); out.Before != 6 || out.After != 1 {
		t.Errorf("%+v", out)
	}
	if n := segments(t, dir, date, id-1); n != 3+3 {
		t.Error(n)
	}
	// A second run finds nothing to do.
	if out := run(t, dir, Options{Now: day.Add(3*time.Hour + 30*time.Minute)}); out.Before != 0 {
		t.Errorf("%+v", out)
	}
	// The day is over.
	out := run(t, dir, Options{Now: day.Add(24*time.Hour + 6*time.Minute)})
	if out.After != 1 || !slices.Equal(out.Dates, []string{date}) || segments(t, dir, date, id-1) != 1 {
		t.Errorf("%+v", out)
	}
	// A heal of a few trades does not rewrite it, more than a few heals do.
	for i := range 6 {
		record(t, dir, id, 3, day.Add(5*time.Hour))
		id += 3
		out := run(t, dir, Options{Now: day.Add(30 * time.Hour)})
		if want := i == 4; (out.Before > 0) != want {
			t.Errorf("after heal %d: %+v", i, out)
		}
	}
	segments(t, dir, date, id-1)
}

func TestSizeAndWindow(t *testing.T) {
	dir := newTape(t)
	record(t, dir, 1, 500, day)
	record(t, dir, 501, 500, day.Add(time.Hour))
	for i := range int64(10) {
		record(t, dir, 1001+100*i, 100, day.Add(25*time.Hour+time.Duration(i)*time.Minute))
	}
	out := run(t, dir, Options{Now: day.Add(72 * time.Hour), From: day.Add(24 * time.Hour), MaxRows: 600})
	if !slices.Equal(out.Dates, []string{"2026-01-16"}) || out.Rows != 2000 || out.After != 4 {
		t.Errorf("%+v", out)
	}
	if n := segments(t, dir, "2026-01-16", 2000); n != 4 {
		t.Error(n)
	}
	if n := segments(t, dir, "2026-01-15", 2000); n != 2 {
		t.Error(n)
	}
}

func TestBrokenSegmentIsLeftAndNamed(t *testing.T) {
	dir := newTape(t)
	for i := range int64(3) {
		record(t, dir, 1+100*i, 100, day.Add(time.Duration(i)*time.Hour))
	}
	list, _, err := dir.Segments(tape.Trades, "", "")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir.Path(), list[1].Path)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	// Its footer is whole, its pages are not.
	for i := 8; i < 300; i++ {
		content[i] ^= 0x5a
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	out := run(t, dir, Options{Now: day.Add(72 * time.Hour)})
	if len(out.Broken) != 1 || out.Broken[0].Path != list[1].Path || out.Before != 2 || out.After != 1 {
		t.Errorf("%+v", out)
	}
	if after, err := os.ReadFile(path); err != nil || !slices.Equal(after, content) {
		t.Error("the broken segment was touched", err)
	}
}

func TestRecordsAreMerged(t *testing.T) {
	dir := newTape(t)
	for i := range 20 {
		at := day.Add(time.Duration(i) * time.Minute).UnixMicro()
		if _, err := dir.PublishRuns(context.Background(), []tape.Run{{ID: fmt.Sprint(i), Job: "detect", StartedAt: at, ScheduledAt: at}}); err != nil {
			t.Fatal(err)
		}
	}
	if out := run(t, dir, Options{Now: day.Add(time.Hour)}); out.Records != 20 {
		t.Errorf("%+v", out)
	}
	rows, err := dir.ReadRuns("", "")
	if err != nil || len(rows) != 20 {
		t.Error(len(rows), err)
	}
	list, _, err := dir.Segments(tape.Runs, "", "")
	if err != nil || len(list) != 1 {
		t.Error(list, err)
	}
}

func TestCancelled(t *testing.T) {
	dir := newTape(t)
	record(t, dir, 1, 10, day)
	record(t, dir, 11, 10, day)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, dir, Options{Now: day.Add(72 * time.Hour)}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	segments(t, dir, "2026-01-15", 20)
}
