package compact

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"tapedeck/internal/tape"
	"tapedeck/internal/window"
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
	out := run(t, dir, Options{Now: day.Add(72 * time.Hour), Window: window.Window{Start: day.Add(24 * time.Hour)}, MaxRows: 600})
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

// A week with a run every ten minutes, an alert an hour and a verify an hour: what a day has written is one file of each when it is over, and few before.
func TestAWeekOfRecordsIsFewFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds on a slow disk")
	}
	ctx := context.Background()
	dir := newTape(t)
	const days = 7
	most := 0
	runs, alerts := 0, 0
	for hour := range days * 24 {
		now := day.Add(time.Duration(hour) * time.Hour)
		record(t, dir, int64(10*hour+1), 10, now)
		for i := range 6 {
			at := now.Add(time.Duration(i) * 10 * time.Minute).UnixMicro()
			if _, err := dir.PublishRuns(ctx, []tape.Run{{ID: fmt.Sprint(at), Job: "detect", FinishedAt: at}}); err != nil {
				t.Fatal(err)
			}
			runs++
		}
		if _, err := dir.PublishAlerts(ctx, []tape.Alert{{Detector: "pump_burst", Symbol: "BTCUSDT", At: now.UnixMicro(), Extra: "{}"}}); err != nil {
			t.Fatal(err)
		}
		alerts++
		certificate, err := dir.Certify(ctx, now, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := dir.PublishCoverage(ctx, certificate); err != nil {
			t.Fatal(err)
		}
		run(t, dir, Options{Now: now.Add(59 * time.Minute)})
		for _, table := range []tape.Table{tape.Runs, tape.Alerts, tape.Coverage} {
			list, _, err := dir.Segments(table, "", "")
			if err != nil {
				t.Fatal(err)
			}
			byDate := map[string]int{}
			for _, s := range list {
				byDate[s.Date]++
				most = max(most, byDate[s.Date])
			}
		}
	}
	run(t, dir, Options{Now: day.AddDate(0, 0, days).Add(time.Hour)})
	for table, want := range map[tape.Table]int64{tape.Runs: int64(runs), tape.Alerts: int64(alerts), tape.Coverage: 2 * days} {
		list, broken, err := dir.Segments(table, "", "")
		if err != nil || len(broken) > 0 {
			t.Fatal(err, broken)
		}
		rows := int64(0)
		for _, s := range list {
			rows += s.Rows
		}
		if len(list) != days || rows != want {
			t.Errorf("%s: %d rows in %d files, want %d in %d", table, rows, len(list), want, days)
		}
	}
	if most > maxRecordFiles {
		t.Errorf("a day had %d files", most)
	}
	// The partitions that were replaced are gone when their grace is over by the system's clock, whatever the run's own is.
	left := func() int {
		entries, err := os.ReadDir(dir.StagingPath())
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := left()
	run(t, dir, Options{Now: day.AddDate(10, 0, 0), Clock: time.Now()})
	if before == 0 || left() != before {
		t.Errorf("%d replaced partitions were kept before, %d after", before, left())
	}
	run(t, dir, Options{Now: day, Clock: time.Now().Add(time.Hour)})
	if left() != 0 {
		t.Errorf("%d replaced partitions are left", left())
	}
}

// Three compactions, an import, a stream and a verify at once, and a reader that lists and reads as slowly as it likes: the rows are there once, all the while.
func TestEverybodyAtOnce(t *testing.T) {
	ctx := context.Background()
	dir := newTape(t)
	at := func(id int64) int64 { return day.Add(23*time.Hour + time.Duration(id)*time.Second).UnixMicro() } // over midnight
	rows := func(first, last int64) []tape.Trade {
		var out []tape.Trade
		for id := first; id <= last; id++ {
			out = append(out, tape.Trade{Symbol: "BTCUSDT", ID: id, Price: 1.5, Qty: 2, FirstTradeID: id, LastTradeID: id, TradedAt: at(id)})
		}
		return out
	}
	ids, step := int64(7200), int64(60)
	if testing.Short() {
		ids = 3600
	}
	process := func() *tape.Dir { // each has opened the tape by itself
		d, err := tape.Open(dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	stream, load := process(), process()
	writers.Go(func() {
		for first := int64(1); first <= ids; first += step {
			if _, err := stream.Publish(ctx, rows(first, first+step-1), tape.Origin{Source: tape.FromStream}); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Go(func() { // the same, the other way round and in larger pieces that overlap
		for last := int64(ids); last > 0; last -= 5 * step {
			l := load.NewLoader(tape.Origin{Source: tape.FromFile})
			if err := l.Add(ctx, rows(max(last-7*step, 1), last), 0); err != nil {
				t.Error(err)
			}
			if _, err := l.Publish(ctx); err != nil {
				t.Error(err)
			}
		}
	})
	until := func(do func()) {
		others.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					do()
				}
			}
		})
	}
	for _, opt := range []Options{{Now: day.AddDate(0, 0, 5), Force: true, MaxRows: 3000}, {Now: day.AddDate(0, 0, 5), Force: true}, {Now: day.Add(25*time.Hour + 30*time.Minute)}} {
		d := process()
		until(func() {
			if out, err := Run(ctx, d, opt); err != nil || len(out.Broken) > 0 {
				t.Error(out.Broken, err)
			}
		})
	}
	verifier := process()
	until(func() {
		c, err := verifier.Certify(ctx, day, false, nil)
		if err == nil {
			_, err = verifier.PublishCoverage(ctx, c)
		}
		if err != nil || len(c.Symbols) == 1 && c.Symbols[0].Duplicates > 0 {
			t.Errorf("%+v, %v", c.Symbols, err)
		}
	})
	reader := process()
	least := 0
	until(func() {
		seen := map[int64]bool{}
		for {
			list, broken, err := reader.Segments(tape.Trades, "", "")
			if err != nil || len(broken) > 0 {
				t.Error(err, broken)
			}
			clear(seen)
			again := false
			for _, s := range list {
				runtime.Gosched()
				part, err := reader.ReadTrades(s.Path)
				if errors.Is(err, os.ErrNotExist) {
					again = true // replaced meanwhile: as any query, it is run again
					break
				}
				if err != nil {
					t.Error(err)
				}
				for _, row := range part {
					if seen[row.ID] {
						t.Errorf("id %d stands twice", row.ID)
					}
					seen[row.ID] = true
				}
			}
			if !again {
				break
			}
		}
		if len(seen) < least {
			t.Errorf("%d rows, before there were %d", len(seen), least)
		}
		least = len(seen)
	})
	writers.Wait()
	close(done)
	others.Wait()
	if c, err := dir.Certify(ctx, day, true, nil); err != nil || !c.Complete() || c.Symbols[0].Trades != ids {
		t.Errorf("%+v, %v", c.Symbols, err)
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
