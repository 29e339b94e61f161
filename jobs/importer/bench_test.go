package importer

import (
	"crypto/sha256"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"

	"tapedeck/internal/benchtest"
	"tapedeck/internal/binance/archivetest"
	"tapedeck/internal/tape"
)

var benchRows = flag.Int("rows", 1_000_000, "aggTrades in the benchmarks' archive file")

// byDuckDB converts the unpacked file to the same Parquet with DuckDB alone.
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

// BenchmarkImportDay alternates between importing a zip with a checksum file and converting the
// unpacked CSV to the same Parquet with DuckDB. ratio is DuckDB's time divided by the import's.
// -rows 20000000 is a day of the busiest symbol.
func BenchmarkImportDay(b *testing.B) {
	files, err := archivetest.WriteDay(b.TempDir(), *benchRows)
	if err != nil {
		b.Fatal(err)
	}
	writeChecksum(b, files.Zip)
	rows := float64(*benchRows)
	peak := 0.0
	benchtest.Turns(b, func(b *testing.B) {
		dir, err := tape.Create(filepath.Join(b.TempDir(), "data"), tape.AggTrade, day0)
		if err != nil {
			b.Fatal(err)
		}
		begun, used := time.Now(), benchtest.ProcessorTime()
		summary, err := Run(b.Context(), dir, []string{files.Zip}, Options{})
		took := time.Since(begun).Seconds()
		used = benchtest.ProcessorTime() - used
		if err != nil || summary.Total().Published != int64(*benchRows) || !summary.Files[0].Verified {
			b.Fatal(err, summary)
		}
		if peak == 0 {
			_, peak = benchtest.Resident(b, 0) // before DuckDB is in the same process
			b.ReportMetric(peak, "MB")
		}
		if err := os.RemoveAll(dir.Path()); err != nil {
			b.Fatal(err)
		}
		out := filepath.Join(b.TempDir(), "duckdb.parquet")
		theirUsed := benchtest.ProcessorTime()
		theirs := byDuckDB(b, files.CSV, out).Seconds()
		theirUsed = benchtest.ProcessorTime() - theirUsed
		info, err := os.Stat(out)
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(theirs/took, "ratio")
		b.ReportMetric(float64(theirUsed)/float64(used), "cpu-ratio")
		b.ReportMetric(rows/took/1e6, "Mtrades/s")
		b.ReportMetric(float64(summary.Total().Bytes)/rows, "B/trade")
		b.ReportMetric(float64(info.Size())/rows, "B/trade-duckdb")
	})
}

func writeChecksum(b *testing.B, path string) {
	b.Helper()
	file, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(path+checksumSuffix, fmt.Appendf(nil, "%x  %s\n", sum.Sum(nil), filepath.Base(path)), 0o644); err != nil {
		b.Fatal(err)
	}
}
