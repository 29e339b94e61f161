package report_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/tape"
)

// wideStart is the first day of the tapes of many days.
var wideStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// wideMarket makes up the trades of 200 symbols, day by day. Of all trades a tenth is of the first symbol, and
// each other symbol has a part less than the one before, as on a real market a few have most trades. A price
// is a random walk of 3 % a day in steps of 0.01, sizes are log-normal in steps of 0.001, and the next
// taker is on the side of the one before more often than not.
type wideMarket struct {
	random *rand.Rand
	counts []int // trades of a day, by symbol
	names  []string
	ids    []int64
	raw    []int64
	prices []float64
	sells  []bool
}

// newWideMarket returns a market with so many trades a day, and a least number for each symbol.
func newWideMarket(trades int) *wideMarket {
	m := &wideMarket{random: rand.New(rand.NewPCG(1, 2))}
	least := trades / 2000
	total, weight, weights := trades-least*benchSymbols, 1.0, 0.0
	for s := range benchSymbols {
		m.names = append(m.names, fmt.Sprintf("S%03dUSDT", s))
		m.prices = append(m.prices, math.Round(100*(10+1000*m.random.Float64()))/100)
		weights += math.Pow(0.9, float64(s))
	}
	for range benchSymbols {
		m.counts = append(m.counts, least+int(float64(total)*weight/weights))
		weight *= 0.9
	}
	m.counts[0] += trades - sum(m.counts)
	m.ids, m.raw, m.sells = make([]int64, benchSymbols), make([]int64, benchSymbols), make([]bool, benchSymbols)
	return m
}

func sum(values []int) (total int) {
	for _, value := range values {
		total += value
	}
	return total
}

// appendDay appends the trades of a symbol on a day.
func (m *wideMarket) appendDay(batch []tape.Trade, s, day, count int) []tape.Trade {
	start := wideStart.AddDate(0, 0, day).UnixMilli()
	step, length := 0.03/math.Sqrt(float64(m.counts[s])), 86_400_000/float64(count)
	for i := range count {
		m.prices[s] = max(0.05, m.prices[s]*(1+step*m.random.NormFloat64()))
		if m.random.IntN(3) == 0 {
			m.sells[s] = !m.sells[s]
		}
		first := m.raw[s] + 1
		m.raw[s] += 1 + int64(m.random.ExpFloat64()/1.5)
		m.ids[s]++
		batch = append(batch, tape.Trade{
			Symbol: m.names[s], ID: m.ids[s],
			Price:        math.Round(100*m.prices[s]) / 100,
			Qty:          math.Round(1000*max(0.001, math.Exp(1.6*m.random.NormFloat64()-2))) / 1000,
			FirstTradeID: first, LastTradeID: m.raw[s],
			TradedAt:     1000 * (start + int64((float64(i)+m.random.Float64())*length)),
			IsBuyerMaker: m.sells[s],
		})
	}
	return batch
}

// createWideTape creates a tape of some days with so many trades each, in files of about a million, and the
// first trade of each symbol on the day after, so that the last one is over. Two writers share the work.
func createWideTape(b *testing.B, path string, days, trades int) {
	if _, err := tape.Create(path, tape.AggTrade, wideStart); err != nil {
		b.Fatal(err)
	}
	batches, failed := make(chan []tape.Trade, 1), make(chan error, 2)
	for range cap(failed) {
		go func() { failed <- publishBatches(b, path, batches) }()
	}
	m := newWideMarket(trades)
	var batch []tape.Trade
	for day := range days + 1 {
		for s, count := range m.counts {
			if day == days {
				count = 1
			}
			batch = m.appendDay(batch, s, day, count)
			if len(batch) >= 1_000_000 || s == benchSymbols-1 {
				batches <- batch
				batch = nil
			}
		}
	}
	close(batches)
	for range cap(failed) {
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
}

// publishBatches publishes batches until there are no more.
func publishBatches(b *testing.B, path string, batches <-chan []tape.Trade) (err error) {
	dir, err := tape.Open(path)
	for batch := range batches {
		if err == nil {
			_, err = dir.Publish(b.Context(), batch, tape.Origin{Source: tape.FromFile})
		}
	}
	return err
}

// openWideTape opens the tape in a directory, or creates it there; without a directory, in a temporary
// one. A tape whose creation was interrupted has to be deleted by hand.
func openWideTape(b *testing.B, path string, days, trades int) *tape.Dir {
	if path == "" {
		path = filepath.Join(b.TempDir(), "data")
	}
	if _, err := os.Stat(path); err != nil {
		started := time.Now()
		createWideTape(b, path, days, trades)
		b.Logf("%d days of %d trades were written in %.0f s", days, trades, time.Since(started).Seconds())
	}
	dir, err := tape.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	return dir
}
