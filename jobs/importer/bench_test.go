package importer

import (
	"archive/zip"
	"bufio"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/klauspost/compress/flate"

	"tapedeck/analytics/tape"
)

var benchRows = flag.Int("rows", 1_000_000, "aggTrades in the benchmarks' archive file")

// archiveDay writes a day of aggTrades in the archive's form, as a CSV and as a zip, and gives their paths.
func archiveDay(b *testing.B, rows int) (csv, packed string) {
	b.Helper()
	dir := b.TempDir()
	csv = filepath.Join(dir, "BTCUSDT-aggTrades-2025-08-08.csv")
	packed = strings.TrimSuffix(csv, ".csv") + ".zip"
	file, err := os.Create(csv)
	if err != nil {
		b.Fatal(err)
	}
	out := bufio.NewWriterSize(file, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	price, raw := int64(6_183_763), int64(3_700_000_000)
	step := float64(24*time.Hour/time.Microsecond) / float64(rows)
	at := float64(time.Date(2025, 8, 8, 0, 0, 0, 0, time.UTC).UnixMicro())
	line := make([]byte, 0, 200)
	for id := range rows {
		if random.IntN(3) == 0 {
			price += int64(random.NormFloat64() * 40)
		}
		count := int64(1)
		if random.IntN(4) == 0 {
			count += int64(random.IntN(6))
		}
		qty := int64(random.ExpFloat64()*2000) + 1
		maker := "False"
		if random.IntN(2) == 0 {
			maker = "True"
		}
		line = strconv.AppendInt(line[:0], 3_000_000_000+int64(id), 10)
		line = fmt.Appendf(line, ",%d.%02d000000,%d.%05d000,", price/100, price%100, qty/100000, qty%100000)
		line = strconv.AppendInt(line, raw, 10)
		line = strconv.AppendInt(append(line, ','), raw+count-1, 10)
		line = strconv.AppendInt(append(line, ','), int64(at), 10)
		line = append(append(append(line, ','), maker...), ",True\n"...)
		if _, err := out.Write(line); err != nil {
			b.Fatal(err)
		}
		raw += count
		at += step * float64(random.IntN(2000)) / 1000 * 0.999
	}
	if err := out.Flush(); err != nil {
		b.Fatal(err)
	}
	zipped, err := os.Create(packed)
	if err != nil {
		b.Fatal(err)
	}
	defer zipped.Close()
	w := zip.NewWriter(zipped)
	w.RegisterCompressor(zip.Deflate, func(out io.Writer) (io.WriteCloser, error) { return flate.NewWriter(out, 6) })
	member, err := w.Create(filepath.Base(csv))
	if err != nil {
		b.Fatal(err)
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(member, file); err != nil {
		b.Fatal(err)
	}
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	if err := file.Close(); err != nil {
		b.Fatal(err)
	}
	return csv, packed
}

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
// import's, the median of the turns: make it 5 with -benchtime 5x, and the size with -rows 20000000.
func BenchmarkArchiveDay(b *testing.B) {
	csv, packed := archiveDay(b, *benchRows)
	size := func(path string) float64 {
		info, err := os.Stat(path)
		if err != nil {
			b.Fatal(err)
		}
		return float64(info.Size())
	}
	var ours, theirs, ratios []float64
	var bytes, theirBytes float64
	peak := 0.0
	turn := func() {
		dir, err := tape.Create(filepath.Join(b.TempDir(), "data"), tape.AggTrade, day0)
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		summary, err := Run(b.Context(), dir, []string{packed}, Options{})
		took := time.Since(begun).Seconds()
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
		other := byDuckDB(b, csv, out).Seconds()
		theirBytes = size(out)
		if err := os.Remove(out); err != nil {
			b.Fatal(err)
		}
		ours, theirs, ratios = append(ours, took), append(theirs, other), append(ratios, other/took)
	}
	for b.Loop() {
		turn()
	}
	slices.Sort(ours)
	slices.Sort(theirs)
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "vs-duckdb")
	b.ReportMetric(ratios[0], "vs-duckdb-least")
	b.ReportMetric(ratios[len(ratios)-1], "vs-duckdb-most")
	b.ReportMetric(ours[len(ours)/2], "s/import")
	b.ReportMetric(theirs[len(theirs)/2], "s/duckdb")
	b.ReportMetric(float64(*benchRows)/ours[len(ours)/2], "rows/s")
	b.ReportMetric(bytes/float64(*benchRows), "B/row")
	b.ReportMetric(theirBytes/float64(*benchRows), "B/row-duckdb")
	b.ReportMetric(peak, "MB-resident")
	b.ReportMetric(0, "ns/op")
}
