package detect

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/benchtest"
	"tapedeck/internal/tape"
)

var (
	incremental       = flag.Int("incremental", 20_000_000, "trades a day on the tape of BenchmarkDetect")
	incrementalMemory = flag.String("incremental-memory", "1GB", "the session's memory limit in BenchmarkDetect")
)

const incrementalSymbols = 300

// BenchmarkDetect measures a run over one minute of new data with all detectors and 300 symbols, on tapes of 1,
// 30 and 365 days in turn. The last day has the given number of trades: one file per hour, as after compact, and
// one file per 15 seconds in the last hour, as from the stream. The days before have one file each with few
// trades.
func BenchmarkDetect(b *testing.B) {
	end := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	days := []int{1, 30, 365}
	stream := &tradeSource{t: b, random: rand.New(rand.NewPCG(1, 2)), perDay: float64(*incremental)}
	for i := range incrementalSymbols {
		stream.price[i], stream.ids[i] = 100, maxDays*oldTrades // after those of the earlier days
	}
	dir, err := tape.Create(b.TempDir(), tape.AggTrade, end)
	if err != nil {
		b.Fatal(err)
	}
	stream.dirs = []*tape.Dir{dir}
	at := end.Add(-25 * time.Hour)
	for ; at.Before(end.Add(-time.Hour)); at = at.Add(time.Hour) {
		stream.publish(at, time.Hour)
	}
	for ; at.Before(end); at = at.Add(15 * time.Second) {
		stream.publish(at, 15*time.Second)
	}
	minute := func(b *testing.B) (seconds []float64) {
		for range 4 {
			stream.publish(at, 15*time.Second)
			at = at.Add(15 * time.Second)
		}
		stream.rows = nil
		for _, dir := range stream.dirs {
			began := time.Now()
			summary, err := Run(b.Context(), dir, Options{Now: at, Threads: 2, MemoryLimit: *incrementalMemory})
			seconds = append(seconds, time.Since(began).Seconds())
			if err != nil || len(summary.Problems) > 0 || summary.Symbols != incrementalSymbols || summary.Judged.Duration() > 2*time.Minute {
				b.Fatalf("judged %d symbols in %v: %v %v", summary.Symbols, summary.Judged, summary.Problems, err)
			}
		}
		return seconds
	}
	judgedUntil(b, dir, at.Add(-time.Minute))
	minute(b) // fills the cache of minutes
	for range days[1:] {
		stream.dirs = append(stream.dirs, copyOf(b, dir))
	}
	for i, dir := range stream.dirs {
		for before := 1; before < days[i]; before++ {
			stream.publishOld(dir, end, before)
		}
		judgedUntil(b, dir, at.Add(-time.Minute))
	}
	debug.FreeOSMemory()
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Fatal(err)
	}
	benchtest.Turns(b, func(b *testing.B) {
		seconds := minute(b)
		for i, days := range days {
			b.ReportMetric(seconds[i], fmt.Sprintf("s-%d-days", days))
		}
		b.ReportMetric(seconds[2]/seconds[0], "ratio-365")
		b.ReportMetric(peakMB(b), "MB")
	})
}

// copyOf copies a tape with its state.
func copyOf(t testing.TB, dir *tape.Dir) *tape.Dir {
	t.Helper()
	path := filepath.Join(t.TempDir(), "data")
	if err := os.CopyFS(path, os.DirFS(dir.Path())); err != nil {
		t.Fatal(err)
	}
	copied, err := tape.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return copied
}

// peakMB returns the peak memory of the process since the last reset.
func peakMB(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(status)) {
		var kB float64
		if n, _ := fmt.Sscanf(line, "VmHWM: %f kB", &kB); n == 1 {
			return kB * 1024 / 1e6
		}
	}
	b.Fatal("no VmHWM in /proc/self/status")
	return 0
}

// judgedUntil records that everything was judged up to an instant, as if detect had run each minute.
func judgedUntil(b *testing.B, dir *tape.Dir, until time.Time) {
	index := dir.Index()
	if err := index.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	judged := judgments{Judged: map[string]map[string]judgment{}}
	queries, _ := analytics.Load("")
	for _, query := range queries {
		if query.Kind != analytics.Detect {
			continue
		}
		judged.Judged[query.Name] = map[string]judgment{}
		for _, symbol := range index.Symbols() {
			bounds, _ := index.Bounds(symbol)
			judged.Judged[query.Name][symbol] = judgment{From: bounds.FirstAt.Truncate(time.Minute), Until: until, LastID: bounds.LastID, LastAt: bounds.LastAt}
		}
	}
	if err := dir.State().Write(progressFile, judged); err != nil {
		b.Fatal(err)
	}
}

// tradeSource generates trades of 300 symbols. A few symbols have most of the trades, as on the exchange.
type tradeSource struct {
	t      testing.TB
	dirs   []*tape.Dir // get the same trades
	random *rand.Rand
	perDay float64
	ids    [incrementalSymbols]int64
	price  [incrementalSymbols]float64
	rows   []tape.Trade
}

func symbolName(i int) string { return fmt.Sprintf("%c%c%cUSDT", 'A'+i/26/26, 'A'+i/26%26, 'A'+i%26) }

func (s *tradeSource) publish(from time.Time, length time.Duration) {
	s.rows = s.rows[:0]
	sum := 0.0
	for i := range incrementalSymbols {
		sum += 1 / float64(i+3)
	}
	for i := range incrementalSymbols {
		expected := s.perDay * length.Hours() / 24 / float64(i+3) / sum
		n := int(expected)
		if s.random.Float64() < expected-float64(n) {
			n++
		}
		s.symbol(i, from, length, n)
	}
	for _, dir := range s.dirs {
		if _, err := dir.Publish(s.t.Context(), s.rows, testOrigin); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *tradeSource) symbol(i int, from time.Time, length time.Duration, n int) {
	at := from.UnixMicro()
	step := length.Microseconds() / int64(n+1)
	for j := 0; j < n; j++ {
		// One order in five has two prices.
		at += 1 + s.random.Int64N(max(1, 2*step-1))
		if at >= from.Add(length).UnixMicro() {
			at = from.Add(length).UnixMicro() - 1
		}
		s.price[i] *= 1 + 0.0001*s.random.NormFloat64()
		price := math.Round(s.price[i]*1e4) / 1e4
		s.rows = append(s.rows, tape.Trade{Symbol: symbolName(i), ID: s.ids[i], FirstTradeID: s.ids[i], LastTradeID: s.ids[i], Price: price, Qty: float64(1+s.random.IntN(1000)) / 100,
			TradedAt: at, IsBuyerMaker: s.random.IntN(2) == 0})
		s.ids[i]++
	}
}

// maxDays is the length of the longest tape; oldTrades is how many trades a symbol has on an earlier day.
const maxDays, oldTrades = 365, 10

// publishOld publishes one earlier day to a tape: the number of days before the first full one, with the ids just
// before those of the next day.
func (s *tradeSource) publishOld(dir *tape.Dir, end time.Time, before int) {
	day := end.Add(-26 * time.Hour).Truncate(24 * time.Hour).Add(-24 * time.Hour * time.Duration(before))
	s.rows = s.rows[:0]
	ids, prices := s.ids, s.price
	for i := range incrementalSymbols {
		s.ids[i] = (maxDays - int64(before)) * oldTrades
		s.symbol(i, day, 23*time.Hour, oldTrades)
	}
	s.ids, s.price = ids, prices
	if _, err := dir.Publish(s.t.Context(), s.rows, testOrigin); err != nil {
		s.t.Fatal(err)
	}
}
