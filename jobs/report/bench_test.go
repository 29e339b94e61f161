package report_test

import (
	"cmp"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/internal/benchtest"
	"tapedeck/internal/tape"
	"tapedeck/internal/window"
	"tapedeck/jobs/report"
)

const benchSymbols = 200

var benchTrades = flag.Int("trades", 4_000_000, "number of trades on the tape of the benchmarks")

// benchTape creates a tape with one day of made-up trades of 200 symbols.
func benchTape(b *testing.B, total int) (dir *tape.Dir, from time.Time) {
	from = time.Date(2026, 1, 15, 0, 0, 0, 0, time.UTC)
	dir, err := tape.Create(filepath.Join(b.TempDir(), "data"), tape.AggTrade, from)
	if err != nil {
		b.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	each := total / benchSymbols
	var batch []tape.Trade
	for s := range benchSymbols {
		price := 100.0
		for i := range each {
			price *= 1 + (random.Float64()-0.5)*0.0004
			at := from.UnixMicro() + int64((float64(i)+random.Float64())*86400e6/float64(each))
			batch = append(batch, tape.Trade{
				Symbol: fmt.Sprintf("S%03dUSDT", s), ID: int64(i), Price: float64(int(price*100)) / 100, Qty: float64(1+random.IntN(100_000)) / 1000,
				FirstTradeID: int64(2 * i), LastTradeID: int64(2*i + 1), TradedAt: at, IsBuyerMaker: random.IntN(2) == 0,
			})
		}
		if len(batch) >= 1_000_000 || s == benchSymbols-1 {
			if _, err := dir.Publish(b.Context(), batch, tape.Origin{Source: tape.FromFile}); err != nil {
				b.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	return dir, from
}

// BenchmarkReport compares a report with the bare SQL of its sections in one DuckDB session over
// the same files. Both take turns.
func BenchmarkReport(b *testing.B) {
	dir, from := benchTape(b, *benchTrades)
	until := from.Add(24 * time.Hour)
	queries := reportQueries(b)
	db := bareSession(b, dir)
	bare := func() time.Duration {
		started := time.Now()
		for _, query := range queries {
			runBare(b, db, query, from, until)
		}
		return time.Since(started)
	}
	buildReport(b, dir, from) // loads the files into the page cache
	benchtest.Turns(b, func(b *testing.B) {
		ours, theirs := buildReport(b, dir, from), bare()
		b.ReportMetric(ours.Seconds()/theirs.Seconds(), "of-bare-sql")
		b.ReportMetric(ours.Seconds(), "s-report")
	})
}

// buildReport returns the time that it takes to build a report of a day, with all sections or some.
func buildReport(b *testing.B, dir *tape.Dir, from time.Time, sections ...string) time.Duration {
	want := cmp.Or(len(sections), len(reportQueries(b)))
	until := from.Add(24 * time.Hour)
	started := time.Now()
	built, err := report.Build(b.Context(), dir, report.Options{Window: window.Window{Start: from, End: until}, Now: until, Sections: sections})
	if err != nil {
		b.Fatal(err)
	}
	took := time.Since(started)
	if built.Partial() || len(built.Sections) != want {
		b.Fatalf("%d sections: %v", len(built.Sections), built.Statements)
	}
	return took
}

// BenchmarkOverview compares a report of the overview alone with pandas, if it is installed.
func BenchmarkOverview(b *testing.B) {
	dir, from := benchTape(b, *benchTrades)
	pandas := newPandas(b, bareSession(b, dir))
	benchtest.Turns(b, func(b *testing.B) {
		ours := buildReport(b, dir, from, "overview")
		b.ReportMetric(ours.Seconds(), "s-overview")
		if pandas != nil {
			b.ReportMetric(pandas.overview(b).Seconds()/ours.Seconds(), "of-pandas")
		}
	})
}

// BenchmarkSections measures each section by itself.
func BenchmarkSections(b *testing.B) {
	dir, from := benchTape(b, *benchTrades)
	until := from.Add(24 * time.Hour)
	db := bareSession(b, dir)
	for _, query := range reportQueries(b) {
		b.Run(query.Name, func(b *testing.B) {
			defer processorTime(b)()
			for b.Loop() {
				runBare(b, db, query, from, until)
			}
		})
	}
}

// pandas is a Python with pandas, and the trades as CSV, because Debian has no Parquet reader for
// pandas.
type pandas struct{ python, csv string }

// newPandas returns nil if pandas is not installed.
func newPandas(b *testing.B, db *sql.DB) *pandas {
	for _, python := range []string{"python3", "/usr/bin/python3"} {
		if exec.Command(python, "-c", "import pandas").Run() != nil {
			continue
		}
		p := &pandas{python, filepath.Join(b.TempDir(), "trades.csv")}
		if _, err := db.ExecContext(b.Context(), fmt.Sprintf("COPY (SELECT * EXCLUDE (date) FROM trades) TO '%s'", p.csv)); err != nil {
			b.Fatal(err)
		}
		return p
	}
	b.Log("pandas is not installed")
	return nil
}

// overview returns the time in which pandas computes the section overview, without the start of
// Python.
func (p *pandas) overview(b *testing.B) time.Duration {
	const script = `
import sys, time
import pandas as pd
started = time.perf_counter()
t = pd.read_csv(sys.argv[1], parse_dates=["traded_at"]).sort_values(["symbol", "id"])
t["quote"] = t.price * t.qty
t["raw"] = t.last_trade_id - t.first_trade_id + 1
t["bought"] = t.quote.where(~t.is_buyer_maker, 0)
by = t.groupby("symbol")
out = by.agg(trades=("raw", "sum"), rows=("id", "size"), open=("price", "first"), high=("price", "max"), low=("price", "min"), close=("price", "last"),
    volume=("qty", "sum"), quote_volume=("quote", "sum"), bought=("bought", "sum"), first_traded_at=("traded_at", "first"), last_traded_at=("traded_at", "last"))
out["change"] = (out.close / out.open - 1) * 100
out["vwap"] = out.quote_volume / out.volume
out["taker_buy_share"] = out.bought / out.quote_volume
assert len(out) == int(sys.argv[2])
print(time.perf_counter() - started)
`
	out, err := exec.Command(p.python, "-c", script, p.csv, strconv.Itoa(benchSymbols)).Output()
	if err != nil {
		b.Fatalf("pandas: %v", err)
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatalf("pandas printed %q", out)
	}
	return time.Duration(seconds * float64(time.Second))
}

// processorTime reports the processor time of an operation, which depends less on other processes
// than wall time.
func processorTime(b *testing.B) func() {
	used := func() float64 {
		var usage syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
			b.Fatal(err)
		}
		return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
	}
	before := used()
	return func() { b.ReportMetric((used()-before)/float64(b.N), "cpu-s/op") }
}

func reportQueries(b *testing.B) (out []analytics.Query) {
	queries, problems := analytics.Load("")
	if len(problems) > 0 {
		b.Fatal(problems)
	}
	for _, query := range queries {
		if query.Kind == analytics.Report {
			out = append(out, query)
		}
	}
	return out
}

// bareSession opens DuckDB with the relations that the shell has.
func bareSession(b *testing.B, dir *tape.Dir) *sql.DB {
	db, err := sql.Open("duckdb", "?temp_directory="+b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	for _, statement := range append([]string{
		analytics.Schema(), "DROP TABLE trades",
		fmt.Sprintf("CREATE VIEW trades AS FROM read_parquet('%s', hive_partitioning = true, hive_types = {'date': DATE})", filepath.Join(dir.Path(), "trades", "*", "*.parquet")),
		"INSERT INTO bounds SELECT symbol, min(id), max(id), min(traded_at) AS first_at, max(traded_at) AS last_at, first_at, 'trade', last_at, 'trade' FROM trades GROUP BY symbol",
	}, analytics.SummaryMacros()...) {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	return db
}

// queriesOverTrades returns the sections as reportQueries does, but those that read summaries with their SQL
// over trades.
func queriesOverTrades(b *testing.B) []analytics.Query {
	queries := reportQueries(b)
	for i, query := range queries {
		text, err := os.ReadFile("../../analytics/testdata/over_trades/report/" + query.Name + ".sql")
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			b.Fatal(err)
		}
		if queries[i], err = analytics.ParseQuery(query.Path, string(text)); err != nil {
			b.Fatal(err)
		}
	}
	return queries
}

func runBare(b *testing.B, db *sql.DB, query analytics.Query, from, until time.Time) {
	var args []any
	for _, param := range query.Params {
		value := param.Default
		switch param.Name {
		case "window_start":
			value = from
		case "window_end":
			value = until
		case "step_seconds":
			value = int64(900) // of a day
			if until.Sub(from) > 24*time.Hour {
				value = int64(3600)
			}
		}
		args = append(args, sql.Named(param.Name, value))
	}
	rows, err := db.QueryContext(b.Context(), query.Text, args...)
	if err != nil {
		b.Fatalf("%s: %v", query.Path, err)
	}
	defer rows.Close()
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		b.Fatalf("%s: %v", query.Path, err)
	}
}
