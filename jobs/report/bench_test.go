package report_test

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"tapedeck/analytics"
	"tapedeck/analytics/tape"
	"tapedeck/jobs/report"
)

const benchSymbols = 200

// benchTape is a day of made-up trades of 200 symbols, 200,000 of them or as many as TAPEDECK_BENCH_TRADES says.
func benchTape(b *testing.B) (dir *tape.Dir, from time.Time) {
	total := 200_000
	if text := os.Getenv("TAPEDECK_BENCH_TRADES"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < benchSymbols {
			b.Fatalf("TAPEDECK_BENCH_TRADES is %q", text)
		}
		total = n
	}
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

// BenchmarkReport compares a report with the bare SQL of its sections in one DuckDB session over the same files: the report must
// not take more than 1.15 of it.
func BenchmarkReport(b *testing.B) {
	dir, from := benchTape(b)
	until := from.Add(24 * time.Hour)
	queries := reportQueries(b)
	db := bareSession(b, dir)
	b.Run("report", func(b *testing.B) {
		defer processorTime(b)()
		for b.Loop() {
			built, err := report.Build(b.Context(), dir, report.Options{From: from, To: until, Now: until})
			if err != nil {
				b.Fatal(err)
			}
			if built.Partial() || len(built.Sections) != len(queries) {
				b.Fatalf("%d sections: %v", len(built.Sections), built.Statements)
			}
		}
	})
	b.Run("bare", func(b *testing.B) {
		defer processorTime(b)()
		for b.Loop() {
			for _, query := range queries {
				runBare(b, db, query, from, until)
			}
		}
	})
	for _, query := range queries {
		b.Run("section="+query.Name, func(b *testing.B) {
			defer processorTime(b)()
			for b.Loop() {
				runBare(b, db, query, from, until)
			}
		})
	}
}

// processorTime reports the processor's seconds of an operation beside the wall's: they do not depend on what else the machine does.
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

// bareSession is DuckDB with the relations as they stand in the shell.
func bareSession(b *testing.B, dir *tape.Dir) *sql.DB {
	schema, err := analytics.Schema()
	if err != nil {
		b.Fatal(err)
	}
	db, err := sql.Open("duckdb", "?temp_directory="+b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	for _, statement := range []string{
		schema, "DROP TABLE trades",
		fmt.Sprintf("CREATE VIEW trades AS FROM read_parquet('%s', hive_partitioning = true, hive_types = {'date': DATE})", filepath.Join(dir.Path(), "trades", "*", "*.parquet")),
		"INSERT INTO bounds SELECT symbol, min(id), max(id), min(traded_at), max(traded_at) FROM trades GROUP BY symbol",
	} {
		if _, err := db.ExecContext(b.Context(), statement); err != nil {
			b.Fatal(err)
		}
	}
	return db
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
