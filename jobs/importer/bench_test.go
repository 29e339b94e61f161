package importer

import (
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"tapedeck/analytics/tape"
	"tapedeck/jobs/internal/binance/archivetest"
)

var benchRows = flag.Int("rows", 1_000_000, "aggTrades in the benchmarks' archive file")

// byDuckDB makes the same Parquet of the unpacked file in DuckDB alone.
func byDuckDB(b *testing.B, csv, out string) time.Duration {
	b.Helper()
	db, err := sql.Open("duckdb", "")
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	begun := time.Now()
	if _, err := db.Exec(fmt.Sprintf(`COPY (
    SELECT 'BTCUSDT' AS symbol, id, price, qty, first_trade_id, last_trade_id, make_timestamp(traded) AS traded_at, is_buyer_maker,
    FROM read_csv('%s', header = false, columns = {
        'id': 'BIGINT', 'price': 'DOUBLE', 'qty': 'DOUBLE', 'first_trade_id': 'BIGINT', 'last_trade_id': 'BIGINT', 'traded': 'BIGINT', 'is_buyer_maker': 'BOOLEAN', 'best': 'BOOLEAN'})
    ORDER BY id
) TO '%s' (FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2)`, csv, out)); err != nil {
		b.Fatal(err)
	}
	return time.Since(begun)
}

// processorTime is what the process has used of the processors so far, in seconds. It says more than the clock where others use them too.
func processorTime(b *testing.B) float64 {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano()).Seconds()
}

// residentPeak is the most memory that the process ever had, in MB.
func residentPeak(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 64)
			if err != nil {
				b.Fatal(err)
			}
			return kb / 1024
		}
	}
	return 0
}

// BenchmarkArchiveDay imports a zip, verified, and makes the same Parquet of the unpacked CSV with DuckDB, in turn. vs-duckdb is DuckDB's time over the
// import's, the median of the turns: of which -benchtime 5x makes five; -rows 20000000 is a day of the busiest symbol.
func BenchmarkArchiveDay(b *testing.B) {
	files, err := archivetest.WriteDay(b.TempDir(), *benchRows)
	if err != nil {
		b.Fatal(err)
	}
	size := func(path string) float64 {
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		return float64(info.Size())
	}
	var ours, theirs, ratios, oursCPU, theirsCPU []float64
	var bytes, theirBytes float64
	peak := 0.0
	turn := func() {
		dir, err := tape.Create(filepath.Join(b.TempDir(), "data"), tape.AggTrade, day0)
		if err != nil {
			b.Fatal(err)
		}
		begun, used := time.Now(), processorTime(b)
		summary, err := Run(b.Context(), dir, []string{files.Zip}, Options{})
		took := time.Since(begun).Seconds()
		oursCPU = append(oursCPU, processorTime(b)-used)
		if err != nil || summary.Total().Published != int64(*benchRows) {
			b.Fatal(err, summary)
		}
		if peak == 0 {
			peak = residentPeak(b) // before DuckDB is in the same process
		}
		bytes = float64(summary.Total().Bytes)
		if err := os.RemoveAll(dir.Path()); err != nil {
			b.Fatal(err)
		}
		out := filepath.Join(b.TempDir(), "duckdb.parquet")
		used = processorTime(b)
		other := byDuckDB(b, files.CSV, out).Seconds()
		theirsCPU = append(theirsCPU, processorTime(b)-used)
		theirBytes = size(out)
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
		ours, theirs, ratios = append(ours, took), append(theirs, other), append(ratios, other/took)
	}
	for b.Loop() {
		turn()
	}
	for _, list := range [][]float64{ours, theirs, ratios, oursCPU, theirsCPU} {
		slices.Sort(list)
	}
	b.ReportMetric(ratios[len(ratios)/2], "vs-duckdb")
	b.ReportMetric(ratios[0], "vs-duckdb-least")
	b.ReportMetric(ratios[len(ratios)-1], "vs-duckdb-most")
	b.ReportMetric(ours[len(ours)/2], "s/import")
	b.ReportMetric(theirs[len(theirs)/2], "s/duckdb")
	b.ReportMetric(oursCPU[len(oursCPU)/2], "cpu-s/import")
	b.ReportMetric(theirsCPU[len(theirsCPU)/2], "cpu-s/duckdb")
	b.ReportMetric(float64(*benchRows)/ours[len(ours)/2], "rows/s")
	b.ReportMetric(bytes/float64(*benchRows), "B/row")
	b.ReportMetric(theirBytes/float64(*benchRows), "B/row-duckdb")
	b.ReportMetric(peak, "MB-resident")
	b.ReportMetric(0, "ns/op")
}
