package detect

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"tapedeck/analytics/tape"
)

var (
	incremental       = flag.Int("incremental", 0, "measure detect over one minute of new data with so many trades a day on the tape, and 1, 30 and 365 days of history")
	incrementalMemory = flag.String("incremental-memory", "1GB", "the session's memory limit")
)

const incrementalSymbols = 300

// TestIncremental measures what a run costs over one minute of new data: all detectors, 300 symbols. The day before has the given number
// of trades, in a file an hour as compact leaves them, and the last hour in a file each 15 seconds as the stream does. The days before
// that have few trades each, in one file: they are there to be looked past.
func TestIncremental(t *testing.T) {
	if *incremental == 0 {
		t.Skip("takes minutes and gigabytes: make detect-bench")
	}
	end := time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)
	fmt.Println("| days on the tape | trades of the last day | first run after | a run over one minute, median of 5 | all |")
	fmt.Println("|---|---|---|---|---|")
	for _, days := range []int{1, 30, 365} {
		dir, err := tape.Create(t.TempDir(), tape.AggTrade, end)
		if err != nil {
			t.Fatal(err)
		}
		stream := &steady{t: t, dir: dir, random: rand.New(rand.NewPCG(1, 2)), perDay: float64(*incremental)}
		for day := days - 1; day > 0; day-- {
			stream.old(end.Add(-24*time.Hour*time.Duration(day+1) - 2*time.Hour).Truncate(24 * time.Hour))
		}
		at := end.Add(-25 * time.Hour)
		for ; at.Before(end.Add(-time.Hour)); at = at.Add(time.Hour) {
			stream.publish(at, time.Hour)
		}
		for ; at.Before(end); at = at.Add(15 * time.Second) {
			stream.publish(at, 15*time.Second)
		}
		// As if it had run each minute: judged up to now.
		var judged state
		index := dir.Index()
		if err := index.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		judged.Judged = map[string]map[string]judgement{}
		for _, name := range every(t) {
			judged.Judged[name] = map[string]judgement{}
			for _, symbol := range index.Symbols() {
				bounds, _ := index.Bounds(symbol)
				judged.Judged[name][symbol] = judgement{From: bounds.FirstAt.Truncate(time.Minute), Until: end.Add(-time.Minute), LastID: bounds.LastID, LastAt: bounds.LastAt}
			}
		}
		if err := dir.WriteState(stateName, judged); err != nil {
			t.Fatal(err)
		}
		var first time.Duration
		var each []time.Duration
		for run := range 6 {
			for range 4 {
				stream.publish(at, 15*time.Second)
				at = at.Add(15 * time.Second)
			}
			began := time.Now()
			summary := mustRun(t, dir, Options{Detectors: every(t), Now: at, Threads: 2, MemoryLimit: *incrementalMemory})
			took := time.Since(began)
			if judged := summary.To.Sub(summary.From); run > 0 && judged > 2*time.Minute || summary.Symbols != incrementalSymbols {
				t.Errorf("judged %d symbols over %v", summary.Symbols, judged)
			}
			if run == 0 {
				first = took
			} else {
				each = append(each, took)
			}
		}
		all := slices.Clone(each)
		slices.Sort(each)
		fmt.Printf("| %d | %d | %.2f s | **%.2f s** | %.2f |\n", days, *incremental, first.Seconds(), each[len(each)/2].Seconds(), secondsOf(all))
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
	t      *testing.T
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
	if s.price[i] == 0 {
		s.price[i], s.ids[i] = 100, 1
	}
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

// old publishes a day of little.
func (s *steady) old(day time.Time) {
	s.rows = s.rows[:0]
	for i := range incrementalSymbols {
		s.symbol(i, day, 23*time.Hour, 10)
	}
	if _, err := s.dir.Publish(s.t.Context(), s.rows, origin); err != nil {
		s.t.Fatal(err)
	}
}
