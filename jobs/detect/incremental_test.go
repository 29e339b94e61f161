package detect

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/analytics/tape"
)

var (
	incremental       = flag.Int("incremental", 20_000_000, "trades a day on the tape of BenchmarkDetect")
	incrementalRuns   = flag.Int("incremental-runs", 5, "how many runs BenchmarkDetect takes the median of")
	incrementalMemory = flag.String("incremental-memory", "1GB", "the session's memory limit in BenchmarkDetect")
)

const incrementalSymbols = 300

// BenchmarkDetect measures what a run costs over one minute of new data: all detectors, 300 symbols. The day before has the given number
// of trades, in a file an hour as compact leaves them, and the last hour in a file each 15 seconds as the stream does. The days before
// that have few trades each, in one file: they are there to be looked past, and come onto the same tape between the measurements.
func BenchmarkDetect(b *testing.B) {
	end := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	dir, err := tape.Create(b.TempDir(), tape.AggTrade, end)
	if err != nil {
		b.Fatal(err)
	}
	stream := &steady{t: b, dir: dir, random: rand.New(rand.NewPCG(1, 2)), perDay: float64(*incremental)}
	const mostDays = 365
	for i := range incrementalSymbols {
		stream.price[i], stream.ids[i] = 100, mostDays*oldTrades // after those of the days before
	}
	at := end.Add(-25 * time.Hour)
	for ; at.Before(end.Add(-time.Hour)); at = at.Add(time.Hour) {
		stream.publish(at, time.Hour)
	}
	for ; at.Before(end); at = at.Add(15 * time.Second) {
		stream.publish(at, 15*time.Second)
	}
	medians := map[int]float64{}
	published := 1
	for _, days := range []int{1, 30, mostDays} {
		for ; published < days; published++ {
			stream.old(end, published)
		}
		judgedUntil(b, dir, at.Add(-time.Minute))
		stream.rows = nil
		debug.FreeOSMemory()
		if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
			b.Fatal(err)
		}
		var each []time.Duration
		for run := range *incrementalRuns + 1 {
			for range 4 {
				stream.publish(at, 15*time.Second)
				at = at.Add(15 * time.Second)
			}
			began := time.Now()
			summary, err := Run(b.Context(), dir, Options{Now: at, Threads: 2, MemoryLimit: *incrementalMemory})
			took := time.Since(began)
			if err != nil || len(summary.Problems) > 0 || summary.Symbols != incrementalSymbols || run > 0 && summary.To.Sub(summary.From) > 2*time.Minute {
				b.Fatalf("judged %d symbols from %v to %v: %v %v", summary.Symbols, summary.From, summary.To, summary.Problems, err)
			}
			if run > 0 { // the first one makes what later ones find
				each = append(each, took)
			}
		}
		b.Logf("%d days: %.2f s", days, secondsOf(each))
		slices.Sort(each)
		medians[days] = each[len(each)/2].Seconds()
	}
	b.ReportMetric(medians[1], "s-1-day")
	b.ReportMetric(medians[30], "s-30-days")
	b.ReportMetric(medians[mostDays], "s-365-days")
	b.ReportMetric(medians[mostDays]/medians[1], "ratio-365")
	b.ReportMetric(peakMB(b), "MB")
	b.ReportMetric(0, "ns/op")
}

// peakMB is the most memory that the process had since it was told to forget what it had before.
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

// judgedUntil writes down that all was judged up to an instant, as if detect had run each minute.
func judgedUntil(b *testing.B, dir *tape.Dir, until time.Time) {
	index := dir.Index()
	if err := index.Refresh(b.Context()); err != nil {
		b.Fatal(err)
	}
	judged := state{Judged: map[string]map[string]judgement{}}
	queries, _ := analytics.Load("")
	for _, query := range queries {
		if query.Kind != analytics.Detect {
			continue
		}
		judged.Judged[query.Name] = map[string]judgement{}
		for _, symbol := range index.Symbols() {
			bounds, _ := index.Bounds(symbol)
			judged.Judged[query.Name][symbol] = judgement{From: bounds.FirstAt.Truncate(time.Minute), Until: until, LastID: bounds.LastID, LastAt: bounds.LastAt}
		}
	}
	if err := dir.WriteState(stateName, judged); err != nil {
		b.Fatal(err)
	}
}

func secondsOf(times []time.Duration) (out []float64) {
	for _, t := range times {
		out = append(out, math.Round(100*t.Seconds())/100)
	}
	return out
}

// steady makes trades of 300 symbols: a few have most of them, as on the exchange.
type steady struct {
	t      testing.TB
	dir    *tape.Dir
	random *rand.Rand
	perDay float64
	ids    [incrementalSymbols]int64
	price  [incrementalSymbols]float64
	rows   []tape.Trade
}

func symbolName(i int) string { return fmt.Sprintf("%c%c%cUSDT", 'A'+i/26/26, 'A'+i/26%26, 'A'+i%26) }

func (s *steady) publish(from time.Time, length time.Duration) {
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
	if _, err := s.dir.Publish(s.t.Context(), s.rows, origin); err != nil {
		s.t.Fatal(err)
	}
}

func (s *steady) symbol(i int, from time.Time, length time.Duration, n int) {
	at := from.UnixMicro()
	step := length.Microseconds() / int64(n+1)
	for j := 0; j < n; j++ {
		// Of five orders one takes two prices.
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

// oldTrades is how many trades each symbol has on one of the days before.
const oldTrades = 10

// old publishes a day of little, so many days before the day of the end, with the ids just before those of the day after.
func (s *steady) old(end time.Time, before int) {
	day := end.Add(-26 * time.Hour).Truncate(24 * time.Hour).Add(-24 * time.Hour * time.Duration(before))
	s.rows = s.rows[:0]
	ids, prices := s.ids, s.price
	for i := range incrementalSymbols {
		s.ids[i] = (365 - int64(before)) * oldTrades
		s.symbol(i, day, 23*time.Hour, oldTrades)
	}
	s.ids, s.price = ids, prices
	if _, err := s.dir.Publish(s.t.Context(), s.rows, origin); err != nil {
		s.t.Fatal(err)
	}
}
