package report_test

import (
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/jobs/report"
)

var (
	wideDays   = flag.Int("wide-days", 30, "days on the tape of BenchmarkWideReport")
	wideTrades = flag.Int("wide-trades", 1_000_000, "trades of each of its days")
	wideTape   = flag.String("wide-tape", "", "where its tape is kept; empty: a temporary directory")
)

// wideTapeOf creates, or opens, a tape of some days. Of its 200 symbols, each has nine tenths of the trades of
// the one before, down to a least number, as on a real market a few have most trades.
func wideTapeOf(b *testing.B) (dir *tape.Dir, from time.Time) {
	from = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	path := *wideTape
	if path == "" {
		path = filepath.Join(b.TempDir(), "data")
	}
	if _, err := os.Stat(path); err == nil {
		dir, err = tape.Open(path)
		if err != nil {
			b.Fatal(err)
		}
		return dir, from
	}
	dir, err := tape.Create(path, tape.AggTrade, from)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	counts := make([]int, benchSymbols)
	for i, share := 0, *wideTrades/6; i < benchSymbols; i, share = i+1, share*9/10 {
		counts[i] = max(share, *wideTrades/800)
	}
	ids, prices := make([]int64, benchSymbols), make([]float64, benchSymbols)
	for i := range prices {
		prices[i] = 10 + 1000*random.Float64()
	}
	var batch []tape.Trade
	publish := func() {
		if _, err := dir.Publish(b.Context(), batch, tape.Origin{Source: tape.FromFile}); err != nil {
			b.Fatal(err)
		}
		batch = batch[:0]
	}
	for day := range *wideDays + 1 {
		start := from.AddDate(0, 0, day).UnixMicro()
		for s, count := range counts {
			if day == *wideDays {
				count = 1 // so that the day before is over
			}
			for i := range count {
				prices[s] *= 1 + (random.Float64()-0.5)*0.0004
				at := start + int64((float64(i)+random.Float64())*86400e6/float64(count))/1000*1000
				ids[s]++
				batch = append(batch, tape.Trade{
					Symbol: fmt.Sprintf("S%03dUSDT", s), ID: ids[s], Price: float64(int(prices[s]*100)) / 100, Qty: float64(1+random.IntN(100_000)) / 1000,
					FirstTradeID: 2 * ids[s], LastTradeID: 2*ids[s] + 1, TradedAt: at, IsBuyerMaker: random.IntN(2) == 0,
				})
			}
			if len(batch) >= 1_000_000 {
				publish()
			}
		}
		if len(batch) > 0 {
			publish()
		}
	}
	return dir, from
}

// sizeOf returns the bytes of the files below a directory.
func sizeOf(b *testing.B, path string) (bytes int64) {
	err := filepath.WalkDir(path, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		bytes += info.Size()
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	return bytes
}

// BenchmarkWideReport compares a report of many days whose summaries are stored with the first one, which
// stores them, and with the SQL of its sections over trades.
func BenchmarkWideReport(b *testing.B) {
	dir, from := wideTapeOf(b)
	until := from.AddDate(0, 0, *wideDays)
	build := func() time.Duration {
		started := time.Now()
		if _, err := report.Build(b.Context(), dir, report.Options{Window: window.Window{Start: from, End: until}, Now: until}); err != nil {
			b.Fatal(err)
		}
		return time.Since(started)
	}
	summaries := dir.State().Path(state.SummaryDir)
	db := bareSession(b, dir)
	benchtest.Turns(b, func(b *testing.B) {
		if err := os.RemoveAll(summaries); err != nil {
			b.Fatal(err)
		}
		first, stored := build(), build()
		started := time.Now()
		for _, query := range queriesOverTrades(b) {
			runBare(b, db, query, from, until)
		}
		bare := time.Since(started)
		b.ReportMetric(bare.Seconds()/stored.Seconds(), "times-bare-sql")
		b.ReportMetric(first.Seconds()/bare.Seconds(), "first-of-bare-sql")
		b.ReportMetric(first.Seconds(), "s-first")
		b.ReportMetric(stored.Seconds(), "s-stored")
		b.ReportMetric(bare.Seconds(), "s-bare")
		b.ReportMetric(100*float64(sizeOf(b, summaries))/float64(sizeOf(b, filepath.Join(dir.Path(), "trades"))), "%-of-tape")
	})
}
