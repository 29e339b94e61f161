package tape

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// publishScattered publishes rows of some symbols in many segments, interleaved by time, and
// returns all of them sorted.
func publishScattered(t *testing.T, d *Dir, symbols []string, perSymbol, pieces int) []Trade {
	t.Helper()
	var want []Trade
	rnd := rand.New(rand.NewPCG(1, 2))
	batches := make([][]Trade, pieces)
	for _, symbol := range symbols {
		rows := trades(symbol, 1, int64(perSymbol), day0.Add(time.Hour))
		want = append(want, rows...)
		for len(rows) > 0 {
			n := min(1+rnd.IntN(50), len(rows))
			i := rnd.IntN(pieces)
			batches[i] = append(batches[i], rows[:n]...)
			rows = rows[n:]
		}
	}
	for _, batch := range batches {
		slices.SortFunc(batch, compareTrades)
		publish(t, d, batch)
	}
	slices.SortFunc(want, compareTrades)
	return want
}

func segmentsOf(t *testing.T, d *Dir) []Segment {
	t.Helper()
	segments, broken, err := d.Segments(Trades, "", "")
	if err != nil || len(broken) > 0 {
		t.Fatal(err, broken)
	}
	return segments
}

// readAll reads the rows of segments in their order.
func readAll(t *testing.T, d *Dir, segments []Segment) []Trade {
	t.Helper()
	var out []Trade
	for _, s := range segments {
		rows, err := d.ReadTrades(s.Path)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(rows, compareTrades) {
			t.Fatalf("%s is not sorted", s.Path)
		}
		out = append(out, rows...)
	}
	return out
}

func TestMergeKeepsEveryRow(t *testing.T) {
	d := newTape(t)
	want := publishScattered(t, d, []string{"BTCUSDT", "ETHUSDT", "币安人生USDT"}, 3000, 40)
	out, err := d.Merge(context.Background(), "2026-01-15", segmentsOf(t, d), 2500, day0)
	if err != nil {
		t.Fatal(err)
	}
	after := segmentsOf(t, d)
	if out.Before != 40 || out.After != 4 || len(after) != 4 || !out.Atomic {
		t.Errorf("%+v, then %d segments", out, len(after))
	}
	got := readAll(t, d, after)
	slices.SortFunc(got, compareTrades)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range after {
		if !s.IsCompacted() || s.Rows > 2500 {
			t.Errorf("%+v", s)
		}
		runs, err := readRuns(filepath.Join(d.Path(), s.Path))
		if err != nil {
			t.Fatal(err)
		}
		found, err := scan(filepath.Join(d.Path(), s.Path), s.Date)
		if err != nil || found.misplaced+found.duplicates > 0 || !cmp.Equal(found.runs, runs) {
			t.Errorf("metadata %v, rows %v (%v)", runs, found.runs, err)
		}
	}
	index := d.Index()
	if err := index.Refresh(context.Background()); err != nil {
		t.Fatal(err)
	}
	for _, symbol := range index.Symbols() {
		if gaps := index.Gaps(symbol); len(gaps) > 0 {
			t.Error(symbol, gaps)
		}
	}
}

// Files have several row groups, and the rows of one segment end inside a row group of another.
func TestMergeAcrossRowGroups(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long: make test-all")
	}
	d := newTape(t)
	rows := trades("BTCUSDT", 1, 2*rowGroupRows+77, day0)
	for i := range rows {
		rows[i].TradedAt = day0.UnixMicro() + int64(i)
	}
	var even, odd []Trade
	for i, row := range rows {
		if i/1000%2 == 0 {
			even = append(even, row)
		} else {
			odd = append(odd, row)
		}
	}
	publish(t, d, even)
	publish(t, d, odd)
	if _, err := d.Merge(context.Background(), "2026-01-15", segmentsOf(t, d), 1<<30, day0); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, d, segmentsOf(t, d)); !slices.Equal(got, rows) {
		t.Errorf("got %d rows, want %d; or their content differs", len(got), len(rows))
	}
}

// Another program may have repeated an id on the tape.
func TestMergeDropsDuplicates(t *testing.T) {
	d := newTape(t)
	rows := trades("BTCUSDT", 1, 500, day0)
	publish(t, d, rows)
	original := segmentsOf(t, d)[0]
	content, err := os.ReadFile(filepath.Join(d.Path(), original.Path))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(d.Path(), filepath.Dir(original.Path), "copy.parquet"), content, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Merge(context.Background(), "2026-01-15", segmentsOf(t, d), 1<<30, day0); err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, d, segmentsOf(t, d)); !slices.Equal(got, rows) {
		t.Errorf("got %d rows, want %d; or their content differs", len(got), len(rows))
	}
}

func TestMergeKeepsTheTapeOnError(t *testing.T) {
	d := newTape(t)
	rows := publishScattered(t, d, []string{"BTCUSDT"}, 500, 3)
	segments := segmentsOf(t, d)
	listed := func() []string {
		entries, err := os.ReadDir(d.StagingPath())
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, entry := range entries {
			out = append(out, entry.Name())
		}
		return out
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := d.Merge(ctx, "2026-01-15", segments, 100, day0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if left := listed(); len(left) > 0 {
		t.Error("left in staging:", left)
	}
	if got := readAll(t, d, segmentsOf(t, d)); len(got) != len(rows) {
		t.Errorf("%d rows", len(got))
	}
	// Another process replaced one of them meanwhile.
	if _, err := d.Merge(context.Background(), "2026-01-15", segments[:2], 1<<30, day0); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Merge(context.Background(), "2026-01-15", segments, 1<<30, day0); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
	if got := readAll(t, d, segmentsOf(t, d)); len(got) != len(rows) {
		t.Errorf("%d rows", len(got))
	}
}

// fullDisk is a writer that fails after free bytes.
type fullDisk struct{ free int }

var errDiskFull = errors.New("disk full")

func (w *fullDisk) Write(p []byte) (int, error) {
	if w.free -= len(p); w.free < 0 {
		return 0, errDiskFull
	}
	return len(p), nil
}

// Decoding and encoding run in goroutines of their own. If one fails, the other must end too.
func TestMergeEndsBothGoroutinesOnError(t *testing.T) {
	d := newTape(t)
	rows := trades("BTCUSDT", 1, rowGroupRows+30_000, day0)
	for i := range rows {
		rows[i].TradedAt = day0.UnixMicro() + int64(i)
	}
	publish(t, d, rows)
	segments := segmentsOf(t, d)
	var m merger
	if err := m.open(context.Background(), d.catalog, segments); err != nil {
		t.Fatal(err)
	}
	if err := m.write(context.Background(), &fullDisk{free: 1000}, 1<<30); !errors.Is(err, errDiskFull) {
		t.Error(err)
	}
	m.close()

	path := filepath.Join(d.Path(), segments[0].Path)
	file, _, err := openParquet(path)
	if err != nil {
		t.Fatal(err)
	}
	prices := file.Metadata().RowGroups[1].Columns[2].MetaData
	file.close()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	content[prices.DataPageOffset+prices.TotalCompressedSize/2] ^= 1
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	var broken BrokenSegment
	if _, err := d.Merge(context.Background(), "2026-01-15", segments, 1<<30, day0); !errors.As(err, &broken) || broken.Path != segments[0].Path {
		t.Errorf("%v", err)
	}
	entries, err := os.ReadDir(d.StagingPath())
	if err != nil || len(entries) > 0 {
		t.Error(entries, err)
	}
}

func TestMergeGroups(t *testing.T) {
	small := slices.Repeat([]Segment{{Rows: 10}}, maxMergeFiles+1)
	if groups := MergeGroups(small); len(groups) != 2 || len(groups[0]) != maxMergeFiles {
		t.Error(len(groups))
	}
	large := slices.Repeat([]Segment{{Rows: 16_000_000}}, 100)
	for _, group := range MergeGroups(large) {
		if len(group)*rowGroupRows > maxMergeRows {
			t.Error(len(group))
		}
	}
	if MergeGroups(nil) != nil {
		t.Error("groups of no segments")
	}
}

func benchSymbol(n int) string { return "S" + string(rune('A'+n/26)) + string(rune('A'+n%26)) + "USDT" }

func BenchmarkMerge(b *testing.B) {
	d, err := Create(b.TempDir(), AggTrade, day0)
	if err != nil {
		b.Fatal(err)
	}
	const pieces, symbols, per = 30, 200, 500
	rnd := rand.New(rand.NewPCG(1, 2))
	next := map[int]int64{}
	for piece := range pieces {
		var rows []Trade
		for s := range symbols {
			price := 100 * float64(s+1)
			for range per {
				next[s]++
				price += float64(rnd.IntN(11)-5) / 100
				rows = append(rows, Trade{
					Symbol: benchSymbol(s), ID: next[s], Price: price, Qty: float64(1+rnd.IntN(5000)) / 1000,
					FirstTradeID: 2 * next[s], LastTradeID: 2*next[s] + int64(rnd.IntN(2)),
					TradedAt: day0.Add(time.Duration(piece)*time.Minute).UnixMicro() + next[s]*100, IsBuyerMaker: rnd.IntN(2) == 0,
				})
			}
		}
		if _, err := d.Publish(context.Background(), rows, Origin{}); err != nil {
			b.Fatal(err)
		}
	}
	segments, _, err := d.Segments(Trades, "", "")
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	for range b.N {
		staged, _, err := d.stageMerged(context.Background(), segments, 16<<20, day0)
		if err != nil {
			b.Fatal(err)
		}
		for _, path := range staged {
			os.Remove(path)
		}
	}
	b.ReportMetric(float64(pieces*symbols*per)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}

func BenchmarkScan(b *testing.B) {
	d, err := Create(b.TempDir(), AggTrade, day0)
	if err != nil {
		b.Fatal(err)
	}
	const symbols, per = 50, 20_000
	rnd := rand.New(rand.NewPCG(1, 2))
	var rows []Trade
	for s := range symbols {
		for i := range int64(per) {
			rows = append(rows, Trade{
				Symbol: benchSymbol(s), ID: i, Price: float64(1 + rnd.IntN(1000)), Qty: float64(1 + rnd.IntN(1000)),
				FirstTradeID: 2 * i, LastTradeID: 2*i + int64(rnd.IntN(2)),
				TradedAt: day0.UnixMicro() + i*4_000_000 + rnd.Int64N(4_000_000), IsBuyerMaker: rnd.IntN(2) == 0,
			})
		}
	}
	if _, err := d.Publish(context.Background(), rows, Origin{}); err != nil {
		b.Fatal(err)
	}
	segments, _, err := d.Segments(Trades, "", "")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := scan(filepath.Join(d.Path(), segments[0].Path), segments[0].Date); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(symbols*per*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mrows/s")
}
