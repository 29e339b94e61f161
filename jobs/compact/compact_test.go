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

	"github.com/parquet-go/parquet-go"

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

// record publishes n trades of each of two symbols, with ids from first, one second apart from at.
func record(t *testing.T, dir *tape.Dir, first, n int64, at time.Time) {
	t.Helper()
	var rows []tape.Trade
	for _, symbol := range []string{"BTCUSDT", "ETHUSDT"} {
		for i := range n {
			rows = append(rows, tape.Trade{
				Symbol: symbol, ID: first + i, Price: 1.5, Qty: 2, FirstTradeID: first + i, LastTradeID: first + i,
				TradedAt: at.Add(time.Duration(i) * time.Second).UnixMicro(),
			})
		}
	}
	if _, err := dir.Publish(context.Background(), rows, tape.Origin{Source: tape.FromStream}); err != nil {
		t.Fatal(err)
	}
}

// countSegments returns the number of segments of a date. It fails unless the tape holds the ids
// from 1 to last of both symbols, each once.
func countSegments(t *testing.T, dir *tape.Dir, date string, last int64) int {
	t.Helper()
	list, broken, err := dir.Segments(tape.Trades, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	found := map[string]bool{}
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
			if found[key] || row.ID < 1 || row.ID > last {
				t.Fatalf("%s is repeated or unexpected", key)
			}
			found[key] = true
		}
	}
	if int64(len(found)) != 2*last {
		t.Fatalf("%d rows, want %d", len(found), 2*last)
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

func TestRunMergesHoursThenDays(t *testing.T) {
	dir := newTape(t)
	// A flush every ten minutes from 00:00 to 03:30.
	id := int64(1)
	for at := day; at.Before(day.Add(3*time.Hour + 30*time.Minute)); at = at.Add(10 * time.Minute) {
		record(t, dir, id, 100, at)
		id += 100
	}
	const date = "2026-01-15"
	if n := countSegments(t, dir, date, id-1); n != 21 {
		t.Fatal(n)
	}
	// Nothing is over.
	if out := run(t, dir, Options{Now: day.Add(30 * time.Minute)}); out.Before != 0 {
		t.Errorf("%+v", out)
	}
	// At 03:04 the last flush of the hour from 02:00 may not be written yet.
	if out := run(t, dir, Options{Now: day.Add(3*time.Hour + 4*time.Minute)}); out.Before != 12 || out.After != 2 {
		t.Errorf("%+v", out)
	}
	if out := run(t, dir, Options{Now: day.Add(3*time.Hour + 30*time.Minute)}); out.Before != 6 || out.After != 1 {
		t.Errorf("%+v", out)
	}
	if n := countSegments(t, dir, date, id-1); n != 3+3 {
		t.Error(n)
	}
	// A second run finds nothing to do.
	if out := run(t, dir, Options{Now: day.Add(3*time.Hour + 30*time.Minute)}); out.Before != 0 {
		t.Errorf("%+v", out)
	}
	// The day is over.
	out := run(t, dir, Options{Now: day.Add(24*time.Hour + 6*time.Minute)})
	if out.After != 1 || !slices.Equal(out.Dates, []string{date}) || countSegments(t, dir, date, id-1) != 1 {
		t.Errorf("%+v", out)
	}
	// A backfill of a few trades does not rewrite it, several do.
	for i := range 6 {
		record(t, dir, id, 3, day.Add(5*time.Hour))
		id += 3
		out := run(t, dir, Options{Now: day.Add(30 * time.Hour)})
		if want := i == 4; (out.Before > 0) != want {
			t.Errorf("after backfill %d: %+v", i, out)
		}
	}
	countSegments(t, dir, date, id-1)
}

func TestRunKeepsToWindowAndMaxRows(t *testing.T) {
	dir := newTape(t)
	record(t, dir, 1, 500, day)
	record(t, dir, 501, 500, day.Add(time.Hour))
	for i := range int64(10) {
		record(t, dir, 1001+100*i, 100, day.Add(25*time.Hour+time.Duration(i)*2*time.Minute))
	}
	from := window.Window{Start: day.Add(24 * time.Hour)}
	out := run(t, dir, Options{Now: day.Add(72 * time.Hour), Window: from, MaxRows: 600})
	if !slices.Equal(out.Dates, []string{"2026-01-16"}) || out.Rows != 2000 || out.After != 4 {
		t.Errorf("%+v", out)
	}
	if n := countSegments(t, dir, "2026-01-16", 2000); n != 4 {
		t.Error(n)
	}
	if n := countSegments(t, dir, "2026-01-15", 2000); n != 2 {
		t.Error(n)
	}
}

func TestRunKeepsBrokenSegment(t *testing.T) {
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
	// Damage its pages, not its footer.
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
		t.Error("the broken segment was changed", err)
	}
}

func TestRunMergesRecords(t *testing.T) {
	dir := newTape(t)
	for i := range 20 {
		at := day.Add(time.Duration(i) * time.Minute).UnixMicro()
		row := tape.Run{ID: fmt.Sprint(i), Job: "detect", StartedAt: at, ScheduledAt: at}
		if _, err := dir.PublishRuns(context.Background(), []tape.Run{row}); err != nil {
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

// In a week with a run every ten minutes and an alert and a verify every hour, a day has few files
// of each table, and one when it is over.
func TestRecordsOfAWeekAreFewFiles(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds on a slow disk: make test-all")
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
		alert := tape.Alert{Detector: "pump_burst", Symbol: "BTCUSDT", At: now.UnixMicro(), Extra: "{}"}
		if _, err := dir.PublishAlerts(ctx, []tape.Alert{alert}); err != nil {
			t.Fatal(err)
		}
		alerts++
		certificate, err := dir.Certify(ctx, now, false)
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
	rowsWanted := map[tape.Table]int64{tape.Runs: int64(runs), tape.Alerts: int64(alerts), tape.Coverage: 2 * days}
	for table, want := range rowsWanted {
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
	// Replaced partitions are deleted when their grace is over by Clock, whatever Now is.
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

// Three compactions, a load, a stream and a verify run at the same time. A slow reader must find
// each row once at any moment.
func TestRunWithConcurrentWriters(t *testing.T) {
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
	open := func() *tape.Dir { // as another process does
		d, err := tape.Open(dir.Path())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	var writers, others sync.WaitGroup
	done := make(chan struct{})
	stream, load := open(), open()
	writers.Go(func() {
		for first := int64(1); first <= ids; first += step {
			if _, err := stream.Publish(ctx, rows(first, first+step-1), tape.Origin{Source: tape.FromStream}); err != nil {
				t.Error(err)
			}
		}
	})
	writers.Go(func() { // the same rows backwards, in larger pieces that overlap
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
	later := day.AddDate(0, 0, 5)
	for _, opt := range []Options{
		{Now: later, Force: true, MaxRows: 3000}, {Now: later, Force: true}, {Now: day.Add(25*time.Hour + 30*time.Minute)},
	} {
		d := open()
		until(func() {
			if out, err := Run(ctx, d, opt); err != nil || len(out.Broken) > 0 {
				t.Error(out.Broken, err)
			}
		})
	}
	verifier := open()
	until(func() {
		c, err := verifier.Certify(ctx, day, false)
		if err == nil {
			_, err = verifier.PublishCoverage(ctx, c)
		}
		if err != nil || len(c.Symbols) == 1 && c.Symbols[0].Duplicates > 0 {
			t.Errorf("%+v, %v", c.Symbols, err)
		}
	})
	reader := open()
	least := 0
	until(func() {
		found := map[int64]bool{}
		for {
			list, broken, err := reader.Segments(tape.Trades, "", "")
			if err != nil || len(broken) > 0 {
				t.Error(err, broken)
			}
			clear(found)
			replaced := false
			for _, s := range list {
				runtime.Gosched()
				part, err := reader.ReadTrades(s.Path)
				if errors.Is(err, os.ErrNotExist) {
					replaced = true // list and read again, as a query does
					break
				}
				if err != nil {
					t.Error(err)
				}
				for _, row := range part {
					if found[row.ID] {
						t.Errorf("id %d is repeated", row.ID)
					}
					found[row.ID] = true
				}
			}
			if !replaced {
				break
			}
		}
		if len(found) < least {
			t.Errorf("%d rows, before there were %d", len(found), least)
		}
		least = len(found)
	})
	writers.Wait()
	close(done)
	others.Wait()
	if c, err := dir.Certify(ctx, day.AddDate(0, 0, 3), true); err != nil || !c.Complete() || c.Symbols[0].Trades != ids {
		t.Errorf("%+v, %v", c.Symbols, err)
	}
}

func TestRunStopsWithContext(t *testing.T) {
	dir := newTape(t)
	record(t, dir, 1, 10, day)
	record(t, dir, 11, 10, day)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Run(ctx, dir, Options{Now: day.Add(72 * time.Hour)}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	countSegments(t, dir, "2026-01-15", 20)
}

// TestRunLeavesWhatRepeatsIDs has a file of another program that repeats an id with another content: a
// compaction decides nothing about it.
func TestRunLeavesWhatRepeatsIDs(t *testing.T) {
	dir := newTape(t)
	record(t, dir, 1, 100, day)
	record(t, dir, 101, 100, day.Add(100*time.Second))
	row := tape.Trade{
		Symbol: "BTCUSDT", ID: 7, Price: 1.5, Qty: 3, FirstTradeID: 7, LastTradeID: 7, TradedAt: day.Add(6 * time.Second).UnixMicro(),
	}
	foreign := filepath.Join(dir.Path(), "trades", "date=2026-01-15", "a-foreign.parquet")
	if err := parquet.WriteFile(foreign, []tape.Trade{row}); err != nil {
		t.Fatal(err)
	}
	now := day.Add(48 * time.Hour)
	out := run(t, dir, Options{Now: now})
	if out.Conflicts != 0 || out.After != 1 || len(out.Broken) != 1 || !out.Broken[0].IsStray() {
		t.Errorf("%+v", out)
	}
	if rows, err := dir.ReadTrades("trades/date=2026-01-15/a-foreign.parquet"); err != nil || len(rows) != 1 || rows[0] != row {
		t.Errorf("%+v, %v", rows, err)
	}
	if conflicts, err := dir.ReadConflicts("", ""); err != nil || len(conflicts) != 0 {
		t.Errorf("%+v, %v", conflicts, err)
	}
}
