package report_test

import (
	"database/sql"
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/state"
	"tapedeck/internal/tape"
)

var (
	wideDays   = flag.Int("wide-days", 30, "days on the tape of BenchmarkWideReport and BenchmarkYear")
	wideTrades = flag.Int("wide-trades", 1_000_000, "trades of each of its days, and of those of BenchmarkDay")
	wideTape   = flag.String("wide-tape", "", "where its tape is kept; empty: a temporary directory")
)

// wideRun runs commands of the program on a tape. For reports, it is the time now.
type wideRun struct {
	*testing.B
	binary string
	dir    *tape.Dir
	now    time.Time
}

func (w wideRun) command(args ...string) benchtest.Usage {
	return benchtest.Run(w.B, w.binary, append(args, "--data-dir", w.dir.Path())...)
}

// report makes a report with all sections of a window.
func (w wideRun) report(from, to time.Time) benchtest.Usage {
	return w.command("report", "--from", from.Format(time.RFC3339), "--to", to.Format(time.RFC3339), "--now", w.now.Format(time.RFC3339),
		"--out", filepath.Join(w.TempDir(), "report.html"))
}

// summaries returns the directory of stored summaries.
func (w wideRun) summaries() string { return w.dir.State().Path(state.SummaryDir) }

// reportShare reports the size of the stored summaries.
func (w wideRun) reportShare() {
	w.ReportMetric(100*float64(sizeOf(w.B, w.summaries()))/float64(sizeOf(w.B, filepath.Join(w.dir.Path(), "trades"))), "%-of-tape")
}

// timed returns what f, which runs in this process, used. Its memory is not known.
func timed(f func()) benchtest.Usage {
	started, used := time.Now(), benchtest.ProcessorTime()
	f()
	return benchtest.Usage{Wall: time.Since(started), CPU: benchtest.ProcessorTime() - used}
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

// BenchmarkWideReport compares a report of many days whose summaries are stored, the whole command with its
// page, with the first one, which stores them, and with the SQL of its sections over trades.
func BenchmarkWideReport(b *testing.B) {
	w := wideRun{b, benchtest.Program(b), openWideTape(b, *wideTape, *wideDays, *wideTrades), wideStart.AddDate(0, 0, *wideDays)}
	db := bareSession(b, w.dir)
	benchtest.Turns(b, func(b *testing.B) {
		w.B = b
		if err := os.RemoveAll(w.summaries()); err != nil {
			b.Fatal(err)
		}
		first, stored := w.report(wideStart, w.now), w.report(wideStart, w.now)
		bare := timed(func() {
			for _, query := range queriesOverTrades(b) {
				runBare(b, db, query, wideStart, w.now)
			}
		})
		b.ReportMetric(bare.Wall.Seconds()/stored.Wall.Seconds(), "times-bare-sql")
		b.ReportMetric(bare.CPU.Seconds()/stored.CPU.Seconds(), "times-bare-sql-cpu")
		b.ReportMetric(first.Wall.Seconds()/bare.Wall.Seconds(), "first-of-bare-sql")
		b.ReportMetric(first.CPU.Seconds()/bare.CPU.Seconds(), "first-of-bare-sql-cpu")
		b.ReportMetric(first.Wall.Seconds(), "s-first")
		b.ReportMetric(stored.Wall.Seconds(), "s-stored")
		b.ReportMetric(stored.CPU.Seconds(), "cpu-s-stored")
		b.ReportMetric(bare.Wall.Seconds(), "s-bare")
		b.ReportMetric(float64(stored.Memory)/1e6, "MB-stored")
		b.ReportMetric(float64(first.Memory)/1e6, "MB-first")
		w.reportShare()
	})
}

// BenchmarkDay measures reports of 24 hours and rows of trades, on a tape with one day that is over.
func BenchmarkDay(b *testing.B) {
	w := wideRun{b, benchtest.Program(b), openWideTape(b, "", 1, *wideTrades), wideStart.AddDate(0, 0, 1)}
	benchtest.Turns(b, func(b *testing.B) {
		w.B = b
		if err := os.RemoveAll(w.summaries()); err != nil {
			b.Fatal(err)
		}
		first, stored := w.report(wideStart, w.now), w.report(wideStart, w.now)
		b.ReportMetric(first.Wall.Seconds(), "s-first")
		b.ReportMetric(first.CPU.Seconds(), "cpu-s-first")
		b.ReportMetric(float64(first.Memory)/1e6, "MB-first")
		b.ReportMetric(stored.Wall.Seconds(), "s-stored")
		b.ReportMetric(stored.CPU.Seconds(), "cpu-s-stored")
		for _, format := range []string{"table", "csv"} {
			rows := w.command("query", "FROM trades", "--format", format)
			b.ReportMetric(float64(rows.Memory)/1e6, "MB-"+format)
			b.ReportMetric(rows.CPU.Seconds(), "cpu-s-"+format)
		}
	})
}

// BenchmarkYear measures a report of many days, with summaries of all of them, beside one of the last 30, and
// hourly candles of the symbol with most trades beside DuckDB over trades.
func BenchmarkYear(b *testing.B) {
	w := wideRun{b, benchtest.Program(b), openWideTape(b, *wideTape, *wideDays, *wideTrades), wideStart.AddDate(0, 0, *wideDays)}
	first := w.report(wideStart, w.now)
	b.Logf("the first report took %.0f s, %.0f s of a processor, %d MB", first.Wall.Seconds(), first.CPU.Seconds(), first.Memory/1e6)
	benchtest.Turns(b, func(b *testing.B) {
		w.B = b
		year, month := w.report(wideStart, w.now), w.report(w.now.AddDate(0, 0, -30), w.now)
		b.ReportMetric(year.Wall.Seconds(), "s-year")
		b.ReportMetric(year.CPU.Seconds(), "cpu-s-year")
		b.ReportMetric(float64(year.Memory)/1e6, "MB-year")
		b.ReportMetric(month.Wall.Seconds(), "s-month")
		b.ReportMetric(float64(month.Memory)/1e6, "MB-month")
		b.ReportMetric(float64(year.Memory)/float64(month.Memory), "MB-of-month")
		candles := w.command("query", "FROM candles('1 hour') WHERE symbol = 'S000USDT'", "--format", "csv")
		bare := timed(func() { bareCandles(b, w.dir) })
		b.ReportMetric(bare.Wall.Seconds()/candles.Wall.Seconds(), "times-bare-candles")
		b.ReportMetric(bare.CPU.Seconds()/candles.CPU.Seconds(), "times-bare-candles-cpu")
		b.ReportMetric(candles.Wall.Seconds(), "s-candles")
		w.reportShare()
	})
}

// bareCandles computes the hourly candles of a symbol over trades, in a DuckDB of its own.
func bareCandles(b *testing.B, dir *tape.Dir) {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	rows, err := db.QueryContext(b.Context(), `
		SELECT date_trunc('hour', traded_at) AS hour, arg_min(price, id), max(price), min(price), arg_max(price, id),
			sum(last_trade_id - first_trade_id + 1), sum(qty), sum(price * qty), sum(price * qty) FILTER (NOT is_buyer_maker)
		FROM read_parquet($1) WHERE symbol = 'S000USDT' GROUP BY hour ORDER BY hour`, filepath.Join(dir.Path(), "trades", "*", "*.parquet"))
	if err != nil {
		b.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
	}
	if err := rows.Err(); err != nil {
		b.Fatal(err)
	}
}
