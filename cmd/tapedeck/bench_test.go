package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/recorded"
	"tapedeck/internal/tape"
)

// Benchmarks of whole commands. Each measures two things alternately and reports the ratio of their
// times, so that the load of the machine matters less. cmd/bench runs them and updates BENCHMARKS.md.

// benchDay is the first day of the benchmarks' tapes.
var benchDay = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// benchTape describes a tape of random walks.
type benchTape struct {
	days, segments, symbols, rows int // segments per day; rows per segment, evenly over the symbols
}

// create publishes the tape in a temporary directory. It has the same trades every time.
func (t benchTape) create(b testing.TB) *tape.Dir {
	b.Helper()
	dir, err := tape.Create(filepath.Join(b.TempDir(), "data"), tape.AggTrade, benchDay)
	if err != nil {
		b.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(7, 7))
	ids := make([]int64, t.symbols)
	prices := make([]float64, t.symbols)
	for s := range prices {
		prices[s] = float64(int(1000+rnd.IntN(900000))) / 100
	}
	per := t.rows / t.symbols
	batch := make([]tape.Trade, 0, per*t.symbols)
	for day := range t.days {
		for segment := range t.segments {
			batch = batch[:0]
			from := benchDay.AddDate(0, 0, day).Add(time.Duration(segment) * 24 * time.Hour / time.Duration(t.segments)).UnixMicro()
			step := int64(24*time.Hour/time.Microsecond) / int64(t.segments) / int64(per+1)
			for s := range t.symbols {
				name := fmt.Sprintf("TOK%03dUSDT", s)
				for i := range per {
					ids[s]++
					if rnd.IntN(3) == 0 {
						prices[s] = max(0.01, prices[s]+float64(rnd.IntN(5)-2)/100)
					}
					price := float64(int(prices[s]*100+0.5)) / 100
					batch = append(batch, tape.Trade{Symbol: name, ID: ids[s], Price: price, Qty: float64(1+rnd.IntN(2000)*rnd.IntN(20)) / 10000, FirstTradeID: 3 * ids[s], LastTradeID: 3*ids[s] + int64(rnd.IntN(3)),
						TradedAt: from + int64(i)*step + rnd.Int64N(step), IsBuyerMaker: rnd.IntN(2) == 0})
				}
			}
			if _, err := dir.Publish(context.Background(), batch, tape.Origin{Source: tape.FromStream}); err != nil {
				b.Fatal(err)
			}
		}
	}
	return dir
}

// timeInDuckDB runs statements in a new database with a memory limit and returns how long they took.
func timeInDuckDB(b *testing.B, memory string, statements ...string) time.Duration {
	b.Helper()
	db, err := sql.Open("duckdb", "?memory_limit="+memory+"&temp_directory="+b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	started := time.Now()
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			b.Fatal(err)
		}
	}
	return time.Since(started)
}

// linkCopy copies a tape with hard links, because each run needs the original segments.
func linkCopy(b *testing.B, dir *tape.Dir) string {
	b.Helper()
	to := filepath.Join(b.TempDir(), "data")
	if out, err := exec.Command("cp", "-al", dir.Path(), to).CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return to
}

var segmentRows = flag.Int("segment-rows", 7000, "trades in each of the 1,440 segments of BenchmarkCompact")

// BenchmarkCompact compares compact, on a day in 1,440 segments, with one COPY of DuckDB over the same
// files, both within 1 GB. At a ratio above 1 compact is faster.
func BenchmarkCompact(b *testing.B) {
	t := benchTape{days: 1, segments: 1440, symbols: 200, rows: *segmentRows}
	binary, dir := benchtest.Program(b), t.create(b)
	rows := float64(t.days * t.segments * t.rows)
	now := benchDay.AddDate(0, 0, 3).Format(time.RFC3339)
	benchtest.Turns(b, func(b *testing.B) {
		copied := linkCopy(b, dir)
		ours := benchtest.Run(b, binary, "compact", "--data-dir", copied, "--now", now)
		if err := os.RemoveAll(copied); err != nil {
			b.Fatal(err)
		}
		theirs := timeInDuckDB(b, "1GB", fmt.Sprintf("COPY (SELECT * EXCLUDE (date) FROM read_parquet('%s/trades/date=2026*/*.parquet') ORDER BY symbol, id) TO '%s' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)",
			dir.Path(), filepath.Join(b.TempDir(), "sorted.parquet")))
		b.ReportMetric(theirs.Seconds()/ours.Wall.Seconds(), "ratio")
		b.ReportMetric(rows/ours.Wall.Seconds()/1e6, "Mtrades/s")
		b.ReportMetric(float64(ours.Memory)/1e6, "MB")
	})
}

// BenchmarkVerify measures verify on a year of 50 symbols: the first time, and again without changes.
func BenchmarkVerify(b *testing.B) {
	t := benchTape{days: 365, segments: 1, symbols: 50, rows: 100_000}
	binary, dir := benchtest.Program(b), t.create(b)
	now := benchDay.AddDate(0, 0, 366).Format(time.RFC3339)
	benchtest.Turns(b, func(b *testing.B) {
		path := linkCopy(b, dir)
		first := benchtest.Run(b, binary, "verify", "--data-dir", path, "--now", now)
		b.ReportMetric(median(3, func() float64 {
			return benchtest.Run(b, binary, "verify", "--data-dir", path, "--now", now).Wall.Seconds()
		}), "s-again")
		b.ReportMetric(float64(t.days*t.rows)/first.Wall.Seconds()/1e6, "Mtrades/s-first")
		if err := os.RemoveAll(path); err != nil {
			b.Fatal(err)
		}
	})
}

// median returns the median of several measurements.
func median(times int, measure func() float64) float64 {
	var all []float64
	for range times {
		all = append(all, measure())
	}
	slices.Sort(all)
	return all[times/2]
}

// BenchmarkColdStart measures commands that people or health checks start often, on a small tape: the
// median of five runs each. If the DuckDB shell is installed, query is compared with it.
func BenchmarkColdStart(b *testing.B) {
	binary, dir := benchtest.Program(b), benchTape{days: 1, segments: 24, symbols: 16, rows: 16_000}.create(b)
	now := benchDay.AddDate(0, 0, 1).Format(time.RFC3339)
	benchtest.Run(b, binary, "db-migrate", "--data-dir", dir.Path())
	run := func(program string, args ...string) float64 {
		command := exec.Command(program, args...)
		command.Dir = b.TempDir()
		started := time.Now()
		if out, err := command.CombinedOutput(); err != nil && command.ProcessState.ExitCode() < 0 {
			b.Fatalf("%v: %v\n%s", args, err, out)
		}
		return time.Since(started).Seconds() * 1000
	}
	shell, noShell := exec.LookPath("duckdb")
	benchtest.Turns(b, func(b *testing.B) {
		b.ReportMetric(median(5, func() float64 { return run(binary, "version") }), "ms-version")
		b.ReportMetric(median(5, func() float64 { return run(binary, "health", "--data-dir", dir.Path()) }), "ms-health") // fails, because nothing is alive
		b.ReportMetric(median(5, func() float64 { return run(binary, "report", "--since", "24h", "--data-dir", dir.Path(), "--now", now) }), "ms-report")
		query := median(5, func() float64 { return run(binary, "query", "SELECT count(*) FROM trades", "--data-dir", dir.Path()) })
		b.ReportMetric(query, "ms-query")
		if noShell == nil {
			theirs := median(5, func() float64 {
				return run(shell, "-readonly", filepath.Join(dir.Path(), "market.duckdb"), "-c", "SELECT count(*) FROM trades")
			})
			b.ReportMetric(query/theirs, "of-duckdb-shell")
		}
	})
}

// BenchmarkBytes compares the size of a real day of trades after compact with the archive's zip of the
// same trades.
func BenchmarkBytes(b *testing.B) {
	zip := recorded.Path(b, "archive/BTCUSD_PERP-aggTrades-2026-05-08.zip")
	info, err := os.Stat(zip)
	if err != nil {
		b.Fatal(err)
	}
	binary := benchtest.Program(b)
	benchtest.Turns(b, func(b *testing.B) {
		bytes, rows := importedSize(b, binary, zip)
		b.ReportMetric(bytes/float64(info.Size()), "ratio")
		b.ReportMetric(bytes/rows, "B/trade")
	})
}

// importedSize imports a file, compacts the tape and returns its size on disk.
func importedSize(b *testing.B, binary, file string) (bytes, rows float64) {
	path := filepath.Join(b.TempDir(), "data")
	benchtest.Run(b, binary, "import", "--data-dir", path, "--columns", "id=1,price=2,qty=3,first_trade_id=4,last_trade_id=5,traded_at=6,is_buyer_maker=7", file)
	benchtest.Run(b, binary, "compact", "--data-dir", path, "--force")
	dir, err := tape.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	segments, _, err := dir.Segments(tape.Trades, "", "")
	if err != nil {
		b.Fatal(err)
	}
	for _, s := range segments {
		bytes += float64(s.Bytes)
		rows += float64(s.Rows)
	}
	return bytes, rows
}
